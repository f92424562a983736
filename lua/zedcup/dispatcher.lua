-- Between the actors and this worker's Lua: one light thread waits for the
-- module's semaphore, hands answers to whoever asked, and keeps the shared
-- dictionary as the documentation promises it.

local events = require "zedcup.events"
local instances = require "zedcup.instances"
local semaphore = require "ngx.semaphore"
local zffi = require "zedcup.ffi"
local zone_sync = require "zedcup.zone_sync"

local cjson = require("cjson.safe").new()

local ngx = ngx
local ipairs = ipairs
local pcall = pcall
local tostring = tostring
local exiting = ngx.worker.exiting

-- The actors answer every ask within seconds; this bound is for what cannot
-- happen.
local ASK_TIMEOUT = 30
-- A wake-up is never lost; this only bounds how long a quitting worker waits.
local IDLE_WAIT = 60
-- And how often one looks whether it may leave.
local EXIT_WAIT = 0.2

local _M = {}

local sema           -- posted by the module; must outlive the worker's runtime
local asks = {}      -- id -> { sema, done, err, payload }
local pending = 0
local running = false    -- the light thread
local refused = false    -- the module did not start: there is nothing to wait for
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


local function answer(id, err, payload)
    local ask = asks[id]
    if not ask then
        return          -- given up
    end
    asks[id] = nil
    pending = pending - 1
    ask.done = true
    ask.err = err ~= "" and err or nil
    ask.payload = payload ~= "" and payload or nil
    ask.sema:post(1)
end


-- A host as the instance shows it now, or what the event itself says of it.
local function find_host(config, seen)
    for _, pool in ipairs(config and config.pools or {}) do
        if pool._idx == seen.pool then
            for _, host in ipairs(pool.hosts) do
                if host._idx == seen.host and host.host == seen.address then
                    return pool, host
                end
            end
        end
    end
    local pool = { _idx = seen.pool, name = tostring(seen.pool), hosts = {} }
    local host = { _idx = seen.host, name = tostring(seen.host), host = seen.address,
                   port = seen.port ~= 0 and seen.port or nil, _pool = pool }
    return pool, host
end


-- Fresh tables with each call: a callback may keep and change what it gets.
local function event_data(instance, seen)
    local view = instances.get(instance)
    local pool, host = find_host(view and instances.config(view), seen)
    host.up = seen.up       -- this worker's content may be behind the event
    return { pool = pool, host = host, healthcheck = seen.healthcheck, err = seen.err }
end


-- An event that was committed is told, also in a worker that is quitting:
-- "premature" is of no account here.
local function tell(_, event, scopes, instance, seen)
    events.emit_scoped(event, scopes, instance, function()
        return event_data(instance, seen)
    end)
end


local function on_event(scopes, instance, text)
    local seen = cjson.decode(text)
    local event = seen.up and "host_up" or "host_down"
    if not events.wanted_scoped(event, scopes) then
        return
    end
    local ok, err = ngx.timer.at(0, tell, event, scopes, instance, seen)
    if not ok then
        ngx.log(ngx.ERR, "zedcup: no timer for the callbacks of ", event, ": ", err,
                "; they run in the dispatcher")
        tell(false, event, scopes, instance, seen)
    end
end


local function handle(kind, id, name, text, revision)
    if kind == zffi.ANSWER then
        answer(id, text, name)
    elseif kind == zffi.EVENT then
        on_event(id, name, text)
    elseif kind == zffi.PUBLISH then
        publish(name, text, revision)
        zone_sync.changed(name)
    elseif kind == zffi.REMOVE then
        cache:delete(name .. "|peers")
        cache:delete(name .. "|version")
    end
end


local function run(premature)
    while not premature and not refused do
        local ok, err = sema:wait(exiting() and EXIT_WAIT or IDLE_WAIT)
        if not ok and err ~= "timeout" then
            ngx.log(ngx.ERR, "zedcup: the dispatcher cannot wait: ", err)
            break
        end
        ok, err = pcall(zffi.drain, handle)
        if not ok then
            ngx.log(ngx.ERR, "zedcup: dispatching failed: ", err)
        end
        if exiting() and pending == 0 and not zffi.state().settling then
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
    refused = false
    if not sema then
        local err
        sema, err = semaphore.new(0)
        if not sema then
            return nil, err
        end
    end
    if running then
        return sema.sem
    end
    local ok, err = launch()
    return ok and sema.sem, err
end


--- The module did not start: the light thread ends, or a worker that quits
--- would wait for it.
function _M.give_up()
    refused = true
    sema:post(1)
end


--- In a worker that is quitting: makes sure that somebody is there for the
--- events that may come.
function _M.stay()
    if exiting() and not running then
        launch()
    end
end


--- Orders something of the actors and waits for the answer.
--- Needs a phase that can wait (not init_worker, log, balancer, filters).
---@param what number zedcup.ffi.ASK_*
---@param name string
---@param json string
---@return boolean|nil ok
---@return string|nil err or, with ok, what was asked for
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
    if ask.payload then
        return true, ask.payload
    end
    return true
end


return _M
