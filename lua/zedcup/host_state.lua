-- The run-time state of an instance's hosts: methods of a handler, which read and
-- change it in the store by orders to the actors.

local cjson = require("cjson.safe").new()
local dispatcher = require "zedcup.dispatcher"
local zffi = require "zedcup.ffi"

local ipairs = ipairs
local tonumber = tonumber
local tostring = tostring
local type = type
local floor = math.floor

local _M = {}


local function bad(name, wanted, value)
    local got = type(value) == "table" and "a table" or tostring(value)
    return nil, name .. ": expected " .. wanted .. ", got " .. got
end


local function is_index(value)
    return type(value) == "number" and value >= 1 and value == floor(value) and value < 2 ^ 32
end


-- A host of handler:config(), as the module wants it named.
local function name_host(host)
    if type(host) ~= "table" then
        return bad("host", "a host of handler:config()", host)
    end
    if not is_index(host._idx) then
        return bad("host._idx", "an index", host._idx)
    end
    if type(host._pool) ~= "table" then
        return bad("host._pool", "a pool of handler:config()", host._pool)
    end
    if not is_index(host._pool._idx) then
        return bad("host._pool._idx", "an index", host._pool._idx)
    end
    if type(host.host) ~= "string" then
        return bad("host.host", "an address", host.host)
    end
    local port = host.port == nil and 0 or tonumber(host.port)
    if not port or port ~= floor(port) or port < 0 or port > 65535 then
        return bad("host.port", "a port", host.port)
    end
    -- (a number of cjson's would come with 14 digits and a point)
    return cjson.encode({
        pool = tostring(host._pool._idx), host = tostring(host._idx),
        address = host.host, port = tostring(port),
    })
end


local function order(handler, what, host)
    local json, err = name_host(host)
    if not json then
        return nil, err
    end
    return dispatcher.ask(what, handler.view.name, json)
end


local function carry_out(handler, what, host)
    local ok, err = order(handler, what, host)
    if not ok then
        return nil, err
    end
    return true
end


local function lay_out(view, rows)
    local state = {}
    for _, pool in ipairs(view.pools) do
        state[pool.config._idx] = {}
    end
    for _, row in ipairs(rows) do
        local pool = state[row[1]] or {}
        state[row[1]] = pool
        pool[row[2]] = {
            error_count = row[3],
            last_error = row[4] ~= 0 and row[4] or nil,
            last_check = row[5] ~= 0 and row[5] or nil,
        }
    end
    return state
end


--- What is known of the hosts at run time: `state[pool][host]`, by `_idx`, has
--- error_count, last_error and last_check (unix times), or is nil.
---@return table|nil state
---@return string|nil err
function _M:state()
    local ok, answer = dispatcher.ask(zffi.ASK_STATE, self.view.name, "")
    if not ok then
        return nil, answer
    end
    return lay_out(self.view, cjson.decode(answer) or {})
end


--- One error more. Takes nobody down by itself.
---@param host table of config()
---@return number|nil count the new one
---@return string|nil err
function _M:incr_host_error_count(host)
    local ok, answer = order(self, zffi.ASK_COUNT_ERROR, host)
    if not ok then
        return nil, answer
    end
    return tonumber(answer)
end


--- Forgets the errors of a host.
---@param host table of config()
---@return boolean|nil ok
---@return string|nil err
function _M:reset_host_error_count(host)
    return carry_out(self, zffi.ASK_RESET_ERRORS, host)
end


--- Notes that a host was checked now.
---@param host table of config()
---@return boolean|nil ok
---@return string|nil err
function _M:set_host_last_check(host)
    return carry_out(self, zffi.ASK_NOTE_CHECK, host)
end


--- Takes a host down, as zedcup does by itself after max_errors.
---@param host table of config()
---@return boolean|nil ok
---@return string|nil err
function _M:set_host_down(host)
    return carry_out(self, zffi.ASK_TAKE_DOWN, host)
end


--- Brings back a host that zedcup took down.
---@param host table of config()
---@return boolean|nil ok
---@return string|nil err
function _M:set_host_up(host)
    return carry_out(self, zffi.ASK_BRING_UP, host)
end


return _M
