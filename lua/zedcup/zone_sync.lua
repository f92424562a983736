-- Zones of nginx's own upstreams whose peers are kept equal to the hosts of an
-- instance. Every worker knows which; the one that leads the node does it, after
-- each change of the instance and when it begins to lead.

local dynamic = require "ngx.dynamic"
local instances = require "zedcup.instances"
local peers = require "zedcup.ffi_peers"
local zffi = require "zedcup.ffi"

local identity_of = require("zedcup.http.tls").identity_of
local find = string.find
local ipairs = ipairs
local ngx = ngx
local pairs = pairs

-- Changes come at once with the leader's publications; this is for the rest:
-- who leads now, and what failed before.
local LOOK_INTERVAL = 0.5

local _M = {}

local zones = {}         -- zone -> { instance, view, err }
local looking = false


local function is_name(peer)
    return identity_of((peer:gsub(":%d+$", ""))) ~= nil
end


local function peer_of(host, pool, backup)
    local address = host.host
    if not find(address, "unix:", 1, true) then
        address = address .. ":" .. host.port
    end
    return {
        peer = address,
        weight = host.weight,
        down = not (host.up and pool.up),
        backup = backup,
    }
end


-- The first pool that has hosts, and the others as backups where the upstream
-- knows any. A host that is in several pools counts in the first.
local function list_of(config, backups)
    local list, seen, primary = {}, {}, nil
    for _, pool in ipairs(config.pools) do
        for _, host in ipairs(pool.hosts) do
            primary = primary or pool
            local peer = peer_of(host, pool, pool ~= primary)
            if not seen[peer.peer] and (backups or not peer.backup) then
                seen[peer.peer] = true
                list[#list + 1] = peer
            end
        end
    end
    return list
end


local function apply(zone, view)
    local usage, err = peers.usage(zone)
    if not usage then
        return nil, err
    end
    local list = list_of(instances.config(view), usage.backups)
    if #list == 0 then
        return nil, "the instance has no hosts"
    end
    local ok
    ok, err = dynamic.replace_peers(zone, list)
    if ok then
        return true
    end
    -- The zone may have to wait until the first of the names has an address.
    for _, peer in ipairs(list) do
        if is_name(peer.peer) then
            dynamic.add_peer(zone, peer.peer,
                             { weight = peer.weight, down = peer.down, backup = peer.backup })
        end
    end
    return nil, err
end


local function sync(zone, entry)
    local view = instances.get(entry.instance)
    if view and view == entry.view then
        return
    end
    local ok, err
    if view then
        ok, err = apply(zone, view)
    else
        err = "no such instance"
    end
    if ok then
        entry.view = view
        err = nil
    elseif err ~= entry.err then
        ngx.log(ngx.ERR, "zedcup: zone \"", zone, "\" stays as it is, instance \"",
                entry.instance, "\": ", err)
    end
    entry.err = err
end


-- Another worker leads: what it does is not seen here, so all is done again
-- when this one does.
local function forget()
    for _, entry in pairs(zones) do
        entry.view, entry.err = nil, nil
    end
end


local function look(premature)
    local state = zffi.state()
    if premature or not state.running or not state.synced then
        return
    end
    if not state.leads then
        return forget()
    end
    for zone, entry in pairs(zones) do
        sync(zone, entry)
    end
end


--- An instance may have changed in the worker that leads.
---@param instance string
function _M.changed(instance)
    for zone, entry in pairs(zones) do
        if entry.instance == instance then
            sync(zone, entry)
        end
    end
end


--- Keeps a zone's peers equal to an instance's hosts from now on. To be called in
--- every worker.
---@param zone string
---@param instance string
---@return boolean|nil ok
---@return string|nil err
function _M.add(zone, instance)
    local ok, err = peers.usage(zone)
    if not ok then
        return nil, err
    end
    if zones[zone] and zones[zone].instance ~= instance then
        return nil, "zone \"" .. zone .. "\" follows instance \""
                    .. zones[zone].instance .. "\" already"
    end
    if not looking then
        ok, err = ngx.timer.every(LOOK_INTERVAL, look)
        if not ok then
            return nil, err
        end
        looking = true
    end
    zones[zone] = zones[zone] or { instance = instance }
    return true
end


return _M
