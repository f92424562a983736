--- The peers of nginx's own upstreams, listed and edited at run time. An
--- upstream takes part by its `zone` directive.
---
--- All functions return `nil, err` on failure and never raise or wait. They work
--- in every phase of a worker, timers included; what they change is served by
--- all workers at once.

local peers = require "zedcup.ffi_peers"

local find = string.find
local floor = math.floor
local gsub = string.gsub
local get_phase = ngx.get_phase
local next = next
local pairs = pairs
local rawget = rawget
local select = select
local sub = string.sub
local tostring = tostring
local type = type

-- All methods of nginx keep their sums within what these bounds allow.
local MAX_WEIGHT = 65535
local MAX_COUNT = 1000000
local MAX_TIMEOUT = 31536000         -- a year, in seconds
local MAX_PEERS = 1024
local MAX_TEXT = 255

local NUMBERS = {
    weight = { 1, MAX_WEIGHT },
    max_fails = { 0, MAX_COUNT },
    fail_timeout = { 0, MAX_TIMEOUT },
    max_conns = { 0, MAX_COUNT },
}
local BOOLEANS = { down = true, drain = true, backup = true }
local DEFAULTS = {
    weight = 1,
    max_fails = 1,
    fail_timeout = 10,
    max_conns = 0,
    down = false,
    drain = false,
    backup = false,
}
local POSITIONAL = { "weight", "max_fails", "fail_timeout", "down" }

local _M = { _VERSION = "0.1.0" }


local function show(value)
    if type(value) == "string" then
        value = gsub(value, "%c", "?")
        return '"' .. (#value > 64 and sub(value, 1, 64) .. "..." or value) .. '"'
    end
    return type(value) == "number" and tostring(value) or type(value)
end


local function check_field(name, value)
    local range = NUMBERS[name]
    if range then
        -- not a number is not equal to itself
        if type(value) == "number" and value >= range[1] and value <= range[2]
           and value == floor(value) then
            return true
        end
        return nil, name .. ": expected a whole number " .. range[1] .. ".." .. range[2]
                    .. ", got " .. show(value)
    end
    if BOOLEANS[name] then
        if type(value) == "boolean" then
            return true
        end
        return nil, name .. ": expected true or false, got " .. show(value)
    end
    return nil, "unknown field: " .. show(name)
end


-- A caller's table may have a metatable, whose functions may do anything.
local function plain(caller)
    local copy = {}
    for key, value in next, caller do
        copy[key] = value
    end
    return copy
end


local function check_fields(fields)
    for name, value in pairs(fields) do
        local ok, err = check_field(name, value)
        if not ok then
            return nil, err
        end
    end
    return true
end


local function complete(fields)
    local params = {}
    for name, default in pairs(DEFAULTS) do
        local value = fields[name]
        if value == nil then
            value = default
        end
        params[name] = value
    end
    return params
end


local function check_text(name, value)
    if type(value) ~= "string" or value == "" then
        return nil, name .. ": expected a string, got " .. show(value)
    end
    if #value > MAX_TEXT or find(value, "%c") then
        return nil, name .. ": expected at most " .. MAX_TEXT
                    .. " printable characters, got " .. show(value)
    end
    return true
end


-- What every function begins with.
local function check(zone)
    local ok, err = peers.available()
    if not ok then
        return nil, err
    end
    ok, err = check_text("zone", zone)
    if not ok then
        return nil, err
    end
    if get_phase() == "init" then
        return nil, "zone " .. show(zone) .. ": there is none before the workers start"
    end
    return true
end


local function check_peer(zone, peer)
    local ok, err = check(zone)
    if not ok then
        return nil, err
    end
    ok, err = check_text("peer", peer)
    if not ok then
        return nil, "zone " .. show(zone) .. ": " .. err
    end
    return true
end


local function at(zone, peer, err)
    return nil, "zone " .. show(zone) .. ": peer " .. show(peer) .. ": " .. err
end


--- The zones of all upstreams that have one.
---@return string[]|nil names
---@return string|nil err
function _M.list_zones()
    local ok, err = peers.available()
    if not ok then
        return nil, err
    end
    if get_phase() == "init" then
        return nil, "there are no zones before the workers start"
    end
    return peers.zones()
end


--- The peers of a zone, as they are now.
---@param zone string
---@return table[]|nil peers name, weight, current_weight, effective_weight, fails,
--- max_fails, fail_timeout, conns; where they hold also accessed, checked, down,
--- drain, backup, max_conns, server
---@return string|nil err
function _M.describe_zone(zone)
    local ok, err = check(zone)
    if not ok then
        return nil, err
    end
    return peers.peers(zone)
end


-- weight, max_fails, fail_timeout, down and then, or in the place of any of
-- these, a table of fields.
local function collect(count, ...)
    local fields = {}
    for i = 1, count do
        local value = select(i, ...)
        local name = POSITIONAL[i]
        if type(value) == "table" then
            for key, field in next, value do
                fields[key] = field
            end
            if i < count and select("#", select(i + 1, ...)) > 0
               and select(i + 1, ...) ~= nil then
                return nil, "nothing may follow the table of fields"
            end
            return fields
        end
        if value ~= nil then
            if not name then
                return nil, "fields: expected a table, got " .. show(value)
            end
            fields[name] = value
        end
    end
    return fields
end


--- Adds a peer.
---@param zone string
---@param peer string "ip:port", "[ipv6]:port", "unix:/path" or "name:port"
---@param ... any weight (1), max_fails (1), fail_timeout (10 s), down (false), and at
--- the end or instead a table: these, max_conns (0: any number), drain, backup
---@return boolean|nil ok
---@return string|nil err
function _M.add_peer(zone, peer, ...)
    local ok, err = check_peer(zone, peer)
    if not ok then
        return nil, err
    end
    local fields
    fields, err = collect(select("#", ...), ...)
    if not fields then
        return at(zone, peer, err)
    end
    ok, err = check_fields(fields)
    if not ok then
        return at(zone, peer, err)
    end
    return peers.add(zone, peer, complete(fields))
end


--- Removes a peer. Requests that are with it end as they would have.
---@param zone string
---@param peer string
---@return boolean|nil ok
---@return string|nil err
function _M.remove_peer(zone, peer)
    local ok, err = check_peer(zone, peer)
    if not ok then
        return nil, err
    end
    return peers.remove(zone, peer)
end


--- Changes some fields of a peer.
---@param zone string
---@param peer string
---@param fields table weight, max_fails, fail_timeout, max_conns, down, drain
---@return boolean|nil ok
---@return string|nil err
function _M.set_peer(zone, peer, fields)
    local ok, err = check_peer(zone, peer)
    if not ok then
        return nil, err
    end
    if type(fields) ~= "table" then
        return at(zone, peer, "fields: expected a table, got " .. show(fields))
    end
    fields = plain(fields)
    if fields.backup ~= nil then
        return at(zone, peer, "backup: remove the peer and add it anew")
    end
    ok, err = check_fields(fields)
    if not ok then
        return at(zone, peer, err)
    end
    return peers.set(zone, peer, fields)
end


--- Takes a peer out of rotation, or back in.
---@param zone string
---@param peer string
---@param down boolean
---@return boolean|nil ok
---@return string|nil err
function _M.set_peer_down(zone, peer, down)
    local ok, err = check_peer(zone, peer)
    if not ok then
        return nil, err
    end
    ok, err = check_field("down", down)
    if not ok then
        return at(zone, peer, err)
    end
    return peers.set(zone, peer, { down = down })
end


local function check_entry(entry)
    if type(entry) == "string" then
        entry = { peer = entry }
    end
    if type(entry) ~= "table" then
        return nil, "expected a table or a string, got " .. show(entry)
    end
    local fields = plain(entry)
    local peer = fields.peer
    fields.peer = nil
    local ok, err = check_text("peer", peer)
    if not ok then
        return nil, err
    end
    ok, err = check_fields(fields)
    if not ok then
        return nil, show(peer) .. ": " .. err
    end
    return { peer = peer, params = complete(fields) }
end


local function check_list(list, count)
    for key in next, list do
        if type(key) ~= "number" or key < 1 or key > count or key ~= floor(key) then
            if count > MAX_PEERS then
                break
            end
            return nil, "unexpected key " .. show(key) .. " beside " .. count .. " peers"
        end
    end
    if count == 0 or count > MAX_PEERS then
        return nil, "expected 1 to " .. MAX_PEERS .. " peers, got "
                    .. (count == 0 and "none" or "more")
    end
    return true
end


--- Makes a zone have these peers and no others, as one change. Those that were
--- there keep their connections and what nginx counted.
---@param zone string
---@param list table[] of { peer =, weight =, … } as for add_peer, or of strings
---@return boolean|nil ok
---@return string|nil err
function _M.replace_peers(zone, list)
    local ok, err = check(zone)
    if not ok then
        return nil, err
    end
    if type(list) ~= "table" then
        return nil, "zone " .. show(zone) .. ": list: expected a table, got " .. show(list)
    end
    local entries = {}
    for i = 1, MAX_PEERS + 1 do
        local entry = rawget(list, i)
        if entry == nil then
            break
        end
        entries[i], err = check_entry(entry)
        if not entries[i] then
            return nil, "zone " .. show(zone) .. ": list[" .. i .. "]: " .. err
        end
    end
    ok, err = check_list(list, #entries)
    if not ok then
        return nil, "zone " .. show(zone) .. ": list: " .. err
    end
    return peers.replace(zone, entries)
end


return _M
