-- Who is told what: callbacks bound globally or to one handler, in binding
-- order, a handler's own before the global ones. A callback that raises is
-- logged and does not keep the next from running.

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

local _M = {}

local global = {}        -- event -> list of callbacks


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


---@param event string
---@param callback function(instance, data)
function _M.bind_global(event, callback)
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


--- Runs the callbacks of an event, here and now.
---@param own table|nil a handler's lists
---@param event string
---@param instance string
---@param data table
function _M.emit(own, event, instance, data)
    local list = own and own[event]
    for i = 1, list and #list or 0 do
        local ok, err = pcall(list[i], data)
        if not ok then
            report(event, err)
        end
    end

    list = global[event]
    for i = 1, list and #list or 0 do
        local ok, err = pcall(list[i], instance, data)
        if not ok then
            report(event, err)
        end
    end
end


return _M
