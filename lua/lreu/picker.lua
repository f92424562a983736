-- lreu.picker: chooses a peer of a service, from the shared dictionary alone; the
-- syncer may run in another worker, or in none. What stands in the dictionary is
-- described in lreu/storage.lua.

local picker_ffi = require "zedcup.ffi_picker"
local storage = require "lreu.storage"
local views = require "lreu.view"

local cjson = require("cjson.safe").new()

local ngx = ngx
local ipairs = ipairs
local random = math.random
local tonumber = tonumber
local tostring = tostring
local type = type
local ngx_now = ngx.now
local next_slot = picker_ffi.next
local pick_slot = picker_ffi.pick
local track = picker_ffi.track
local name_of = storage.name_of

local NONE = {}

local METHODS = {
    rr = picker_ffi.RR,
    weighted_rr = picker_ffi.RR,
    hash = picker_ffi.HASH,
    least_conn = picker_ffi.LEAST_CONN,
    ewma = picker_ffi.EWMA,
    random = picker_ffi.RANDOM,
}

local _M = {}

local dict              -- of init()
local services = {}     -- name -> view


--- Which dictionary to read. Call it in init_worker_by_lua (or init_by_lua).
---@param upstreams table ngx.shared.<name>, the syncer's storage
---@return boolean|nil ok
---@return string|nil err also in the error log
function _M.init(upstreams)
    local found, err = storage.resolve(upstreams, "dict")
    if not found then
        ngx.log(ngx.ERR, "lreu: picker.init: ", err)
        return nil, err
    end
    if found ~= dict then
        dict, services = found, {}
    end
    return true
end


local function is_text(value)
    return type(value) == "string" or type(value) == "number"
end


local function unknown(service)
    if type(service) ~= "string" then
        return nil, "service: expected a string, got " .. tostring(service)
    end
    services[service] = nil
    if not dict:get("ready") then
        return nil, "no services yet: the store was not read so far"
    end
    return nil, "no such service: " .. service
end


-- The view of a service, up to date; nil, err where there is none.
local function look(service, now)
    if not dict then
        return nil, "call picker.init() first"
    end
    local view = services[service]
    if not view then
        if type(service) ~= "string" or not dict:get(service .. "|version") then
            return unknown(service)
        end
        local err
        view, err = views.new(dict, service)
        if not view then
            return nil, err
        end
        services[service] = view
    end
    if view.looked ~= now then
        view:look(now)
    end
    if not view.version then
        if view.trouble then
            return nil, view.trouble
        end
        return unknown(service)
    end
    return view
end


local function swallowed(view)
    local percent = view.black_hole
    return percent and random() * 100 < percent
end


local function no_peer(what, got)
    return nil, what .. ": expected \"host:port\" or a table with host and port, got "
                .. tostring(got)
end


-- The slots of a peer, or a list of peers, that a caller does not want: names or
-- tables with host and port. nil, err: that is something else.
local function slots_of(view, peers, what)
    if peers == nil then
        return {}
    end
    if type(peers) ~= "table" or peers.host ~= nil or peers.name ~= nil then
        peers = { peers }
    end
    local slots = {}
    for _, peer in ipairs(peers) do
        local name = name_of(peer)
        if not name then
            return no_peer(what, peer)
        end
        local i = view.by_name[name]
        if i then
            slots[#slots + 1] = i - 1
        end
    end
    return slots
end


-- A peer that no check keeps out and whose address is known.
local function choose(view, method, key, tried, now)
    for _ = 0, #view.slots do
        local i = pick_slot(view.list, method, key, tried, now)
        if i < 0 then
            return nil
        end
        if view.checked[i + 1] == now or not view:is_out(i + 1, now) then
            local peer = view.target(view.slots[i + 1])
            if peer then
                track(view.list, i)
                return peer
            end
            tried[#tried + 1] = i
        end
    end
end


-- `spare`: whom to leave out unless there is nobody else; `what`: its name, "ban_peer"
-- where it is nil.
local function pick(service, method, key, spare, what)
    local now = ngx_now()
    local view, err = look(service, now)
    if not view then
        return nil, err
    end
    if swallowed(view) then
        return nil, "black hole"
    end
    local tried
    tried, err = slots_of(view, spare, what or "ban_peer")
    if not tried then
        return nil, err
    end
    local peer = choose(view, method, key, tried, now)
    if not peer and spare ~= nil then
        peer = choose(view, method, key, {}, now)
    end
    if not peer then
        return nil, "no peer of " .. service .. " is usable"
    end
    return peer
end


--- The next peer by smooth weighted round robin.
---@param service string
---@param ban_peer string|table|nil not this one, unless it is the only one
---@return table|nil peer host, port, weight, name, …: shared, not to be changed
---@return string|nil err
function _M.rr(service, ban_peer)
    local now = ngx_now()
    local view = services[service]
    if ban_peer ~= nil or not view or view.looked ~= now or view.black_hole
       or view.has_names
    then
        local err
        view, err = look(service, now)
        if not view then
            return nil, err
        end
        if ban_peer ~= nil or view.black_hole or view.has_names then
            return pick(service, picker_ffi.RR, "", ban_peer)
        end
    end
    local i = next_slot(view.list, now)
    if i >= 0 and (view.checked[i + 1] == now or not view:is_out(i + 1, now)) then
        track(view.list, i)
        return view.peers[i + 1]
    end
    return pick(service, picker_ffi.RR, "", nil)
end


--- The peer that a key belongs to: always the same, as long as it serves.
---@param service string
---@param key string
---@param ban_peer string|table|nil
---@return table|nil peer
---@return string|nil err
function _M.hash(service, key, ban_peer)
    if not is_text(key) then
        return nil, "key: expected a string, got " .. tostring(key)
    end
    return pick(service, picker_ffi.HASH, tostring(key), ban_peer)
end


--- Of two peers drawn at random, the one with fewer requests of this worker.
---@param service string
---@param ban_peer string|table|nil
---@return table|nil peer
---@return string|nil err
function _M.least_conn(service, ban_peer)
    return pick(service, picker_ffi.LEAST_CONN, "", ban_peer)
end


--- Of two peers drawn at random, the one that answered this worker sooner of late.
---@param service string
---@param ban_peer string|table|nil
---@return table|nil peer
---@return string|nil err
function _M.ewma(service, ban_peer)
    return pick(service, picker_ffi.EWMA, "", ban_peer)
end


--- A peer drawn by weight.
---@param service string
---@param ban_peer string|table|nil
---@return table|nil peer
---@return string|nil err
function _M.random(service, ban_peer)
    return pick(service, picker_ffi.RANDOM, "", ban_peer)
end


--- A peer, by a method that is named.
---@param service string
---@param opts table|nil method: "rr" (default), "hash", "least_conn", "ewma",
---   "random"; key: of hash; ban: a peer, or a list of peers, to leave out unless
---   there is nobody else
---@return table|nil peer
---@return string|nil err
function _M.pick(service, opts)
    opts = opts or NONE
    if type(opts) ~= "table" then
        return nil, "opts: expected a table, got " .. tostring(opts)
    end
    local method, key = METHODS.rr, opts.key
    if opts.method ~= nil then
        method = METHODS[opts.method]
    end
    if not method then
        return nil, "opts.method: expected rr, hash, least_conn, ewma or random, got "
                    .. tostring(opts.method)
    end
    if method == picker_ffi.HASH and not is_text(key) then
        return nil, "opts.key: expected a string, got " .. tostring(key)
    end
    key = method == picker_ffi.HASH and tostring(key) or ""
    return pick(service, method, key, opts.ban, "opts.ban")
end


-- ---- for operators, and for the judger ------------------------------------------

local function checked_peer(service, peer)
    local view, err = look(service, ngx_now())
    if not view then
        return nil, err
    end
    local name = name_of(peer)
    if not name then
        return no_peer("peer", peer)
    end
    if not view.by_name[name] then
        return nil, "peer: " .. service .. " has no peer " .. name
    end
    return name
end


local function checked_percent(percent)
    local number = tonumber(percent)
    if not number or not (number >= 0 and number <= 100) then
        return nil, "percent: expected 0..100, got " .. tostring(percent)
    end
    return number
end


-- Sets or, with nil, deletes, and makes all workers look.
local function tune(service, key, value)
    local ok, err = true, nil
    if value == nil then
        dict:delete(key)
    else
        ok, err = storage.set(dict, key, value)
    end
    if not ok then
        return nil, "the shared dictionary has no room: " .. err
    end
    storage.touch(dict, service)
    services[service].looked = -1       -- here at once
    return true
end


--- Takes a part of a peer's weight away, in all workers, until recover().
---@param service string
---@param peer string|table "host:port"
---@param percent number 0..100; 100: it gets nothing
---@return boolean|nil ok
---@return string|nil err
function _M.cutdown(service, peer, percent)
    local name, err = checked_peer(service, peer)
    if not name then
        return nil, err
    end
    percent, err = checked_percent(percent)
    if not percent then
        return nil, err
    end
    return tune(service, storage.cut_key(service, name), percent > 0 and percent or nil)
end


--- Undoes cutdown().
---@param service string
---@param peer string|table "host:port"
---@return boolean|nil ok
---@return string|nil err
function _M.recover(service, peer)
    return _M.cutdown(service, peer, 0)
end


--- Lets a part of the picks of a service fail ("black hole"), in all workers: to
--- shed load. 0 ends it.
---@param service string
---@param percent number 0..100
---@return boolean|nil ok
---@return string|nil err
function _M.setBlackHole(service, percent)
    local view, err = look(service, ngx_now())
    if not view then
        return nil, err
    end
    percent, err = checked_percent(percent)
    if not percent then
        return nil, err
    end
    return tune(service, service .. "|blackhole", percent > 0 and percent or nil)
end


--- The peers of a service as this worker picks from them.
---@param service string
---@return string|nil json an array of host, port, name, weight, status, slow_start,
---   start_at, check_url, checkdown, cutdown (percent), active
---@return string|nil err
function _M.show(service)
    local view, err = look(service, ngx_now())
    if not view then
        return nil, err
    end
    local all = {}
    for i, slot in ipairs(view.slots) do
        local peer = slot.peer
        all[i] = {
            host = peer.host, port = peer.port, name = slot.name, weight = peer.weight,
            status = peer.status, slow_start = peer.slow_start, start_at = peer.start_at,
            check_url = peer.check_url, checkdown = dict:get(slot.check_key) and true or false,
            cutdown = slot.cut, active = picker_ffi.active(view.list, i - 1),
        }
    end
    return #all > 0 and cjson.encode(all) or "[]"
end


return _M
