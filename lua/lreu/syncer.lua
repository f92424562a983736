-- lreu.syncer: keeps a shared dictionary equal to one tree of services and peers
-- in etcd (or Consul, or the embedded store). One worker of the node reads and
-- writes; when it goes, another takes over within a second. What stands in the
-- dictionary is described in lreu/storage.lua.

local feeds = require "zedcup.ffi_feeds"
local saved = require "lreu.saved"
local semaphore = require "ngx.semaphore"
local storage = require "lreu.storage"
local zone_sync = require "lreu.zone_sync"

local cjson = require("cjson.safe").new()

local ngx = ngx
local ipairs = ipairs
local next = next
local pairs = pairs
local pcall = pcall
local tostring = tostring
local type = type
local concat = table.concat
local exiting = ngx.worker.exiting
local ERR = ngx.ERR
local BY_CHECKS = storage.BY_CHECKS

-- A wake-up is never lost; this only bounds how long a quitting worker waits.
local IDLE_WAIT = 60
-- The longest slow_start, in seconds.
local LONGEST_RISE = 86400

local _M = {}

local syncers = {}      -- by dictionary


local function log(level, ...)
    ngx.log(level, "lreu: ", ...)
end


-- The peers that active checks keep out. Where nobody checks any more nobody would
-- bring them back: then they are back now.
local function out_by_checks(self, service)
    local dict, down = self.dict, {}
    for _, peer in ipairs(storage.peers(dict, service) or {}) do
        local key = storage.check_key(service, peer.name)
        local value, flags = dict:get(key)
        if value and flags == BY_CHECKS then
            if self.checks then
                down[#down + 1] = peer.name
            else
                dict:delete(key)
            end
        end
    end
    return down
end


-- What the actors need to know of what is served already: who is new begins
-- slowly, and who is out by a check must be brought back.
local function known(self)
    local dict = self.dict
    local all = {}
    if not dict:get("ready") then
        return "[]"
    end
    for i, service in ipairs(storage.names(dict)) do
        local down = out_by_checks(self, service)
        -- without a version nobody sees its peers: they are to be told once more
        local peers = dict:get(service .. "|version") and dict:get(service .. "|peers")
        all[i] = { name = service, peers = peers or "[]",
                   down = #down > 0 and down or nil }
    end
    return cjson.encode(all)
end


local function set(dict, key, value, ttl, flags)
    local ok, err = storage.set(dict, key, value, ttl, flags)
    if not ok then
        log(ERR, "the shared dictionary cannot take ", key, " (", #tostring(value),
            " bytes): ", err, "; what was there stays. Give it more room")
    end
    return ok
end


local function on_peers(self, service, json, revision)
    local dict = self.dict
    if not set(dict, service .. "|peers", json) then
        self.missed[service] = true
        return
    end
    self.missed[service] = nil
    -- A store that was restored from a copy may count anew.
    if dict:get(service .. "|version") == revision then
        revision = revision + 0.5
    end
    if not set(dict, service .. "|version", revision) then
        self.missed[service] = true
    end
    zone_sync.changed(self, service)
end


local function on_synced(self, names)
    local dict = self.dict
    local gone = storage.missing(storage.names(dict), names)
    set(dict, "_allname", concat(names, "|"))
    storage.remove(dict, gone)
    set(dict, "ready", true)
end


local function on_checked(self, service, peer, down)
    local key = storage.check_key(service, peer)
    if down then
        set(self.dict, key, true, nil, BY_CHECKS)
    else
        local value, flags = self.dict:get(key)
        if value and flags == BY_CHECKS then
            self.dict:delete(key)
        end
        -- It rises slowly, as one that joins does.
        set(self.dict, storage.recovered_key(service, peer), ngx.now(), LONGEST_RISE)
    end
    storage.touch(self.dict, service)
    zone_sync.changed(self, service)
end


local function on_lead(self)
    self.leads = true       -- until it ends
    local ok, err = feeds.run(self.feed, known(self))
    if not ok then
        log(ERR, "cannot follow the store: ", err)
    end
end


local function handle(self, kind, id, name, text, revision)
    if kind == feeds.PEERS then
        on_peers(self, name, text, revision)
    elseif kind == feeds.SYNCED then
        on_synced(self, cjson.decode(text))
    elseif kind == feeds.CHECKED then
        on_checked(self, name, text, id == 1)
    elseif kind == feeds.LEAD then
        on_lead(self)
    elseif text ~= "" then
        set(self.dict, "_trouble", text)
    else
        self.dict:delete("_trouble")
    end
end


local function run(premature, self)
    local function take(...)
        local ok, err = pcall(handle, self, ...)
        if not ok then
            log(ERR, err)
        end
    end
    while not premature and not exiting() do
        local ok, err = self.sema:wait(IDLE_WAIT)
        if not ok and err ~= "timeout" then
            log(ERR, "the syncer cannot wait: ", err)
            return
        end
        feeds.drain(self.feed, take)
        if not ok and next(self.missed) then
            on_lead(self)       -- there may be room now: all of it once more
        end
    end
end


local function copy_options(options)
    local copy = {}
    for key, value in pairs(options) do
        if key ~= "storage" then
            copy[key] = value
        end
    end
    return copy
end


-- The syncer, or nil and why not; false: this process needs none.
local function start(dict, options)
    local json, err = cjson.encode(copy_options(options))
    if not json then
        return nil, "options: " .. err
    end
    local self = { dict = dict, missed = {} }
    self.sema, err = semaphore.new(0)
    if not self.sema then
        return nil, err
    end
    self.feed, err = feeds.start(json, self.sema.sem)
    if not self.feed then
        return self.feed, err
    end
    saved.restore(dict, self.feed)
    local ok
    ok, err = ngx.timer.at(0, run, self)
    if not ok then
        return nil, "cannot start the syncer: " .. err
    end
    return self
end


--- Begins to keep a dictionary up to date. Call it in init_worker_by_lua, in every
--- worker; once for each dictionary.
---@param options table storage: ngx.shared.<name>; etcd_path; etcd_host,
---   etcd_port, etcd_endpoints, etcd_user, etcd_password, etcd_ssl, …, etcd_api; or
---   consul = {…}, or embedded = { path = … } (see README.md)
---@return boolean|nil ok
---@return string|nil err names the option; also in the error log
function _M.init(options)
    local dict, self, err
    if type(options) ~= "table" then
        err = "expected a table of options, got " .. tostring(options)
    else
        dict, err = storage.resolve(options.storage, "storage")
    end
    if dict and syncers[dict] then
        err = "storage: this dictionary has a syncer already"
    elseif dict then
        self, err = start(dict, options)
    end
    if err then
        log(ERR, "syncer.init: ", err)
        return nil, err
    end
    if self then
        syncers[dict] = self
    end
    return true
end


-- The syncer of a dictionary, or of the only one.
local function find(dict)
    if dict == nil then
        dict = next(syncers)
    else
        dict = storage.resolve(dict, "dict")
    end
    if not dict or not syncers[dict] then
        return nil, "no syncer of this dictionary in this worker"
    end
    return syncers[dict]
end


--- Keeps the zone of one of nginx's own upstreams equal to the peers of a service:
--- address, weight, and down where they are down or a check has them out. Call it in
--- init_worker_by_lua, in every worker, after init().
---@param zone string of an upstream's `zone` directive
---@param service string
---@param dict table|nil ngx.shared.<name>; may be left out where there is one syncer
---@return boolean|nil ok
---@return string|nil err also in the error log
function _M.sync_zone(zone, service, dict)
    local self, err = find(dict)
    local ok
    if self and type(service) ~= "string" then
        err = "service: expected a string, got " .. tostring(service)
    elseif self then
        ok, err = zone_sync.add(self, zone, service)
    end
    if not ok then
        log(ERR, "syncer.sync_zone: ", err)
        return nil, err
    end
    return true
end


--- How a syncer does.
---@param dict table|nil ngx.shared.<name>; may be left out where there is one
---@return table|nil state ready (boolean), saved (boolean: of zedcup_state_dir, until
---   the store is read), services (number), trouble (string|nil)
---@return string|nil err
function _M.state(dict)
    local self, err = find(dict)
    if not self then
        return nil, err
    end
    dict = self.dict
    return {
        ready = dict:get("ready") ~= nil,
        saved = dict:get("ready") == "saved",
        services = #storage.names(dict),
        trouble = dict:get("_trouble"),
    }
end


--- Has the peers of a dictionary checked: for lreu.health.
---@param dict table ngx.shared.<name>
---@param json string see zedcup.ffi_feeds
---@return boolean|nil ok
---@return string|nil err
function _M.check(dict, json)
    local self = syncers[dict]
    if not self then
        return nil, "storage: no syncer of this dictionary in this worker: "
                    .. "call syncer.init() first"
    end
    local ok, err = feeds.check(self.feed, json)
    self.checks = self.checks or ok
    return ok, err
end


return _M
