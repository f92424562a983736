-- Zones of nginx's own upstreams whose peers are kept equal to those of a service.
-- The worker that writes a dictionary also edits the zones that follow it: at once
-- with each change, and again until it succeeds.

local dynamic = require "ngx.dynamic"
local storage = require "lreu.storage"

local ipairs = ipairs
local ngx = ngx
local pairs = pairs
local max = math.max

-- For what failed before, and for checks that end by themselves.
local LOOK_INTERVAL = 0.5

local _M = {}


-- A peer that a check keeps out is down, unless that would leave nobody.
local function list_of(dict, service)
    local peers, err = storage.peers(dict, service)
    if not peers then
        return nil, err
    end
    local list, left = {}, 0
    for i, peer in ipairs(peers) do
        local out = dict:get(storage.check_key(service, peer.name)) ~= nil
        local down = peer.status == "down" or peer.weight == 0
        list[i] = { peer = peer.name, weight = max(peer.weight, 1), down = down or out,
                    configured = down }
        left = left + ((down or out) and 0 or 1)
    end
    for _, peer in ipairs(list) do
        if left == 0 then
            peer.down = peer.configured
        end
        peer.configured = nil
    end
    return list
end


-- Whether two lists would make the same of a zone.
local function is_same(list, before)
    if not before or #list ~= #before then
        return false
    end
    for i, peer in ipairs(list) do
        local old = before[i]
        if peer.peer ~= old.peer or peer.weight ~= old.weight or peer.down ~= old.down then
            return false
        end
    end
    return true
end


local function sync(dict, zone, entry)
    local list, err = list_of(dict, entry.service)
    if list and #list == 0 then
        list, err = nil, "the service has no peers"
    end
    if list and not is_same(list, entry.list) then
        local ok
        ok, err = dynamic.replace_peers(zone, list)
        entry.list = ok and list or entry.list
    end
    if err and err ~= entry.err then
        ngx.log(ngx.ERR, "lreu: zone \"", zone, "\" stays as it is, service \"",
                entry.service, "\": ", err)
    end
    entry.err = err
end


local function look(premature, self)
    if not premature and self.leads and self.dict:get("ready") then
        for zone, entry in pairs(self.zones) do
            sync(self.dict, zone, entry)
        end
    end
end


--- A service may have changed in the worker that writes the dictionary.
---@param self table a syncer: dict, leads, zones
---@param service string
function _M.changed(self, service)
    for zone, entry in pairs(self.zones or {}) do
        if entry.service == service then
            sync(self.dict, zone, entry)
        end
    end
end


--- Keeps a zone's peers equal to a service's from now on.
---@param self table a syncer: dict, leads, zones
---@param zone string
---@param service string
---@return boolean|nil ok
---@return string|nil err
function _M.add(self, zone, service)
    local ok, err = dynamic.describe_zone(zone)
    if not ok then
        return nil, err
    end
    local known = self.zones and self.zones[zone]
    if known and known.service ~= service then
        return nil, "zone \"" .. zone .. "\" follows service \"" .. known.service
                    .. "\" already"
    end
    if not self.zones then
        ok, err = ngx.timer.every(LOOK_INTERVAL, look, self)
        if not ok then
            return nil, err
        end
        self.zones = {}
    end
    self.zones[zone] = self.zones[zone] or { service = service }
    return true
end


return _M
