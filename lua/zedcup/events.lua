-- Who is told what: callbacks bound globally or to one handler, in binding
-- order, a handler's own before the global ones. A callback that raises is
-- logged and does not keep the next from running.

local band = require("bit").band

local ngx = ngx
local type = type
local pcall = pcall
local tostring = tostring

local EVENTS = {
    host_connect = true,
    host_connect_error = true,
    host_request_error = true,
    host_up = true,
    host_down = true,
}

-- Of host_down and host_up: the bits of the module's messages.
local SCOPES = { cluster = 1, node = 2, worker = 4 }

local _M = {}

local global = {}        -- event -> list of callbacks
local scoped = {         -- event -> list of { callback, scope }
    host_down = {},
    host_up = {},
}


local function check(event, callback)
    if type(event) ~= "string" or not EVENTS[event] then
        return nil, "unknown event: " .. tostring(event)
    end
    if type(callback) ~= "function" then
        return nil, "expected a function as callback, got " .. type(callback)
    end
    return true
end


--- Adds a callback to a table of lists (made where absent).
---@param lists table event -> list
---@param event string
---@param callback function
---@return boolean|nil ok
---@return string|nil err
function _M.bind(lists, event, callback)
    local ok, err = check(event, callback)
    if not ok then
        return nil, err
    end
    local list = lists[event]
    if not list then
        list = {}
        lists[event] = list
    end
    list[#list + 1] = callback
    return true
end


local function scope_of(opts)
    if opts == nil then
        return SCOPES.cluster
    end
    if type(opts) ~= "table" then
        return nil, "expected a table of options, got " .. type(opts)
    end
    if opts.scope == nil then
        return SCOPES.cluster
    end
    local scope = SCOPES[opts.scope]
    if not scope then
        return nil, "unknown scope: expected cluster, node or worker, got "
                    .. tostring(opts.scope)
    end
    return scope
end


local function bind_scoped(event, callback, opts)
    local ok, err = check(event, callback)
    if not ok then
        return nil, err
    end
    local scope
    scope, err = scope_of(opts)
    if not scope then
        return nil, err
    end
    local list = scoped[event]
    list[#list + 1] = { callback = callback, scope = scope }
    return true
end


--- Binds for all instances. Events of a request run inside it; host_down and
--- host_up are told by the dispatcher.
---@param event string
---@param callback function(instance, data)
---@param opts table|nil scope: "cluster", "node", "worker"
---@return boolean|nil ok
---@return string|nil err
function _M.bind_global(event, callback, opts)
    if scoped[event] then
        return bind_scoped(event, callback, opts)
    end
    if type(opts) == "table" and opts.scope ~= nil then
        return nil, "scope: only host_down and host_up have one"
    end
    return _M.bind(global, event, callback)
end


--- Whether anybody listens: spares making the data where nobody does.
---@param own table|nil a handler's lists
---@param event string
---@return boolean
function _M.wanted(own, event)
    return global[event] ~= nil or (own ~= nil and own[event] ~= nil)
end


local function report(event, err)
    ngx.log(ngx.ERR, "zedcup: a callback for ", event, " failed: ", tostring(err))
end


--- Runs a handler's own callbacks of an event, here and now.
---@param own table|nil a handler's lists
---@param event string
---@param data table
function _M.emit_own(own, event, data)
    local list = own and own[event]
    for i = 1, list and #list or 0 do
        local ok, err = pcall(list[i], data)
        if not ok then
            report(event, err)
        end
    end
end


--- Runs the callbacks of an event, here and now.
---@param own table|nil a handler's lists
---@param event string
---@param instance string
---@param data table
function _M.emit(own, event, instance, data)
    _M.emit_own(own, event, data)

    local list = global[event]
    for i = 1, list and #list or 0 do
        local ok, err = pcall(list[i], instance, data)
        if not ok then
            report(event, err)
        end
    end
end


local function is_meant(scopes, scope)
    return band(scopes, scope) ~= 0
end


--- Whether anybody listens to host_down or host_up with one of these scopes.
---@param event string
---@param scopes number a sum of 1 cluster, 2 node, 4 worker
---@return boolean
function _M.wanted_scoped(event, scopes)
    local list = scoped[event]
    for i = 1, #list do
        if is_meant(scopes, list[i].scope) then
            return true
        end
    end
    return false
end


--- Runs the global callbacks of host_down or host_up that have one of these
--- scopes, in binding order, each with data of its own.
---@param event string
---@param scopes number
---@param instance string
---@param make_data function
function _M.emit_scoped(event, scopes, instance, make_data)
    local list = scoped[event]
    for i = 1, #list do
        if is_meant(scopes, list[i].scope) then
            local ok, err = pcall(list[i].callback, instance, make_data())
            if not ok then
                report(event, err)
            end
        end
    end
end


return _M
