-- Between the actors and this worker's Lua: one light thread waits for the
-- module's semaphore, hands answers to whoever asked, and keeps the shared
-- dictionary as the documentation promises it.

local semaphore = require "ngx.semaphore"
local zffi = require "zedcup.ffi"

local ngx = ngx
local pcall = pcall
local exiting = ngx.worker.exiting

-- The actors answer every ask within seconds; this bound is for what cannot
-- happen.
local ASK_TIMEOUT = 30
-- A wake-up is never lost; this only bounds how long a quitting worker waits.
local IDLE_WAIT = 60

local _M = {}

local sema           -- posted by the module; must outlive the worker's runtime
local asks = {}      -- id -> { sema, done, err }
local pending = 0
local running = false    -- the light thread
local cache          -- ngx.shared[dicts.cache]


local function publish(name, text, revision)
    local ok, err = cache:set(name .. "|peers", text)
    if ok then
        ok, err = cache:set(name .. "|version", revision)
    end
    if not ok then
        ngx.log(ngx.ERR, "zedcup: shared dict: instance \"", name, "\" (", #text,
                " bytes): ", err, "; workers follow all the same")
    end
end


local function answer(id, err)
    local ask = asks[id]
    if not ask then
        return          -- given up
    end
    asks[id] = nil
    pending = pending - 1
    ask.done = true
    ask.err = err ~= "" and err or nil
    ask.sema:post(1)
end


local function handle(kind, id, name, text, revision)
    if kind == zffi.ANSWER then
        answer(id, text)
    elseif kind == zffi.PUBLISH then
        publish(name, text, revision)
    elseif kind == zffi.REMOVE then
        cache:delete(name .. "|peers")
        cache:delete(name .. "|version")
    end
end


local function run(premature)
    while not premature do
        local ok, err = sema:wait(IDLE_WAIT)
        if not ok and err ~= "timeout" then
            ngx.log(ngx.ERR, "zedcup: the dispatcher cannot wait: ", err)
            break
        end
        ok, err = pcall(zffi.drain, handle)
        if not ok then
            ngx.log(ngx.ERR, "zedcup: dispatching failed: ", err)
        end
        if exiting() and pending == 0 then
            break
        end
    end
    running = false
end


local function launch()
    local ok, err = ngx.timer.at(0, run)
    if not ok then
        return nil, "cannot start the dispatcher: " .. err
    end
    running = true
    return true
end


--- Starts the light thread of this worker.
---@param cache_dict table ngx.shared.X for `<name>|peers` and `<name>|version`
---@return cdata|nil sema to give to the module
---@return string|nil err
function _M.start(cache_dict)
    cache = cache_dict
    if sema then
        return sema.sem         -- the module failed to start before
    end
    local ok, err
    sema, err = semaphore.new(0)
    if not sema then
        return nil, err
    end
    ok, err = launch()
    return ok and sema.sem, err
end


--- Orders something of the actors and waits for the answer.
--- Needs a phase that can wait (not init_worker, log, balancer, filters).
---@param what number zedcup.ffi.ASK_*
---@param name string
---@param json string
---@return boolean|nil ok
---@return string|nil err
function _M.ask(what, name, json)
    local done, err = semaphore.new(0)
    if not done then
        return nil, err
    end
    -- Refused here, before anything is ordered, where the phase cannot wait.
    local can_wait, ok, wait_err = pcall(done.wait, done, 0)
    if not can_wait or (not ok and wait_err ~= "timeout") then
        return nil, "cannot wait in this phase: " .. tostring(can_wait and wait_err or ok)
    end

    local id = zffi.ask(what, name, json)
    if id == 0 then
        return nil, "zedcup is not running in this worker: call run_workers()"
    end

    local ask = { sema = done }
    asks[id] = ask
    pending = pending + 1
    if not running then
        launch()        -- it left when the worker began to quit
    end
    ok, err = done:wait(ASK_TIMEOUT)
    if not ask.done then
        asks[id] = nil
        pending = pending - 1
        return nil, ok and "no answer" or err
    end
    if ask.err then
        return nil, ask.err
    end
    return true
end


return _M
