-- What stands in lreu's shared dictionary, and how it is kept. The contract
-- between syncer, picker, health and judger, none of which needs another:
--
--   <service>|peers     JSON: an array of host, port, weight, status, slow_start,
--                       start_at, check_url (and checkurl)
--   <service>|version   a number that changes with the peers: the store's revision
--   _allname            the names of all services, "|" between them
--   ready               true once the store was read; "saved" while all this is of
--                       zedcup_state_dir, see lreu/saved.lua
--   _trouble            why the store cannot be read; absent when it can
--   checkdown:<service>:<host>:<port>
--                       the peer is out: by the log for a time (flags 1), by
--                       active checks (flags 2), or by whoever else set it (no flags)
--   recovered:<service>:<host>:<port>
--                       since when it is back from an active check, unix time
--   cutdown:<service>:<host>:<port>
--                       percent of its weight that it does not get
--   judged:<service>:<host>:<port>
--                       the same, by the judger; ends by itself when nobody judges
--   judger:<service>    why: JSON, see lreu/judger.lua
--   <service>|blackhole percent of the picks that get no peer
--   <service>|tuning    a number that changes with the two before, and with checks

local cjson = require("cjson.safe").new()

local ngx = ngx
local gmatch = string.gmatch
local ipairs = ipairs
local next = next
local tonumber = tonumber
local tostring = tostring
local type = type
local floor = math.floor
local format = string.format

local HIGHEST_WEIGHT = 65535
local LONGEST_RISE = 86400
local LATEST_START = 1e11

local _M = {
    -- In the flags of checkdown:…, who keeps the peer out.
    BY_LOG = 1,
    BY_CHECKS = 2,
}


--- The dictionary that a caller named.
---@param storage any ngx.shared.X, or X itself
---@param what string the argument's name
---@return table|nil dict
---@return string|nil err
function _M.resolve(storage, what)
    if type(storage) == "string" then
        local dict = ngx.shared[storage]
        if not dict then
            return nil, what .. ": no lua_shared_dict " .. storage
        end
        return dict
    end
    if type(storage) ~= "table" or type(storage.safe_set) ~= "function" then
        return nil, what .. ": expected ngx.shared.<name>, got " .. tostring(storage)
    end
    return storage
end


--- The names of all services; empty before the first read.
---@param dict table
---@return string[]
function _M.names(dict)
    local names = {}
    for name in gmatch(dict:get("_allname") or "", "[^|]+") do
        names[#names + 1] = name
    end
    return names
end


--- Those of a list of names that are not in another.
---@param names string[]
---@param others string[]
---@return string[]
function _M.missing(names, others)
    local present, missing = {}, {}
    for _, name in ipairs(others) do
        present[name] = true
    end
    for _, name in ipairs(names) do
        if not present[name] then
            missing[#missing + 1] = name
        end
    end
    return missing
end


--- Removes services, but not from the names of all.
---@param dict table
---@param names string[]
function _M.remove(dict, names)
    for _, name in ipairs(names) do
        dict:delete(name .. "|version")
        dict:delete(name .. "|peers")
    end
end


---@param peer table host, port
---@return string "10.0.0.1:80", "[::1]:80"
function _M.peer_name(peer)
    return peer.host .. ":" .. peer.port
end


-- A number of a peer, or its default where it is none that could be meant.
local function sane(value, default, most)
    local number = (type(value) == "number" or type(value) == "string") and tonumber(value)
    if not number or not (number >= 0 and number <= most) then
        return default
    end
    return number
end


-- Puts a peer in order that anyone may have written; false: it has no address.
local function complete(peer)
    if type(peer) ~= "table" then
        return false
    end
    local host, port = peer.host, sane(peer.port, 0, 65535)
    if type(host) ~= "string" or host == "" or port < 1 or port ~= floor(port) then
        return false
    end
    if host:find(":", 1, true) and host:byte(1) ~= 91 then
        host = "[" .. host .. "]"
    end
    peer.host, peer.port = host, port
    peer.weight = floor(sane(peer.weight, 1, HIGHEST_WEIGHT))
    peer.status = peer.status == "down" and "down" or "up"
    peer.slow_start = sane(peer.slow_start, 0, LONGEST_RISE)
    peer.start_at = sane(peer.start_at, 0, LATEST_START)
    peer.name = _M.peer_name(peer)
    return true
end


--- The peers that a text describes: each with host, port, name, weight, status,
--- slow_start and start_at.
---@param text string|nil JSON
---@return table[]|nil peers nil: that is no list, or nobody in it has an address
---@return string|nil problem also where only some mean nothing
function _M.decode(text)
    local list = text and cjson.decode(text)
    if type(list) ~= "table" or (#list == 0 and next(list) ~= nil) then
        return nil, text and "expected a JSON array of peers" or "missing"
    end
    local peers = {}
    for i = 1, #list do
        if complete(list[i]) then
            peers[#peers + 1] = list[i]
        end
    end
    if #peers == #list then
        return peers
    end
    local problem = format("%d of %d peers have no host and port", #list - #peers, #list)
    return #peers > 0 and peers or nil, problem
end


--- The peers of a service.
---@param dict table
---@param service string
---@return table[]|nil peers see decode()
---@return string|nil err
function _M.peers(dict, service)
    local text = dict:get(service .. "|peers")
    if not text then
        return nil, "no such service: " .. service
    end
    local peers, err = _M.decode(text)
    if not peers then
        return nil, service .. "|peers: " .. err
    end
    return peers
end


--- The name of a peer as a caller gives it.
---@param peer string|table "host:port", or a table with host and port
---@return string|nil name nil: it is neither
function _M.name_of(peer)
    if type(peer) ~= "table" then
        return type(peer) == "string" and peer or nil
    end
    local host, port = peer.host, peer.port
    if type(peer.name) == "string" then
        return peer.name
    end
    if type(host) == "string" and (type(port) == "number" or type(port) == "string") then
        return host .. ":" .. port
    end
end


--- The names of all peers of all services, by service.
---@param dict table
---@return table<string, string[]>
function _M.peer_names(dict)
    local all = {}
    for _, service in ipairs(_M.names(dict)) do
        local names = {}
        for i, peer in ipairs(_M.peers(dict, service) or {}) do
            names[i] = _M.peer_name(peer)
        end
        all[service] = names
    end
    return all
end


---@param service string
---@param peer string "host:port"
---@return string
function _M.check_key(service, peer)
    return "checkdown:" .. service .. ":" .. peer
end


---@param service string
---@param peer string "host:port"
---@return string
function _M.recovered_key(service, peer)
    return "recovered:" .. service .. ":" .. peer
end


---@param service string
---@param peer string "host:port"
---@return string
function _M.cut_key(service, peer)
    return "cutdown:" .. service .. ":" .. peer
end


---@param service string
---@param peer string "host:port"
---@return string
function _M.judged_key(service, peer)
    return "judged:" .. service .. ":" .. peer
end


--- A number of a table of options.
---@param options table
---@param key string
---@param default number
---@param least number
---@param most number
---@return number|nil value
---@return string|nil err names the key
function _M.number(options, key, default, least, most)
    local given = options[key]
    if given == nil then
        return default
    end
    local value = tonumber(given)
    if not value or value ~= value or value < least or value > most then
        return nil, key .. ": expected " .. least .. ".." .. most .. ", got " .. tostring(given)
    end
    return value
end


--- Sets a key without pushing others out; where there is no room, what was
--- there stays.
---@param dict table
---@param key string
---@param value string|number|boolean
---@param ttl number|nil seconds
---@param flags number|nil
---@return boolean|nil ok
---@return string|nil err
function _M.set(dict, key, value, ttl, flags)
    local old, old_flags = dict:get(key)
    local ok, err = dict:safe_set(key, value, ttl or 0, flags or 0)
    if not ok and old ~= nil then
        -- it makes room for the new value before it knows that there is none
        dict:safe_set(key, old, ttl or 0, old_flags or 0)
    end
    return ok, err
end


--- Makes pickers look at the checks and cuts of a service.
---@param dict table
---@param service string
function _M.touch(dict, service)
    dict:incr(service .. "|tuning", 1, 0)
end


return _M
