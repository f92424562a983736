--- Dynamic upstreams, load balancing and failover inside nginx.
---
--- init() in init_by_lua, run_workers() in init_worker_by_lua, then
--- create_handler() wherever a request needs a host. All functions return
--- `nil, err` on failure and never raise.

local cjson = require("cjson.safe").new()
local zffi = require "zedcup.ffi"
local dispatcher = require "zedcup.dispatcher"
local encode = require "zedcup.encode"
local events = require "zedcup.events"
local handler = require "zedcup.handler"
local instances = require "zedcup.instances"
local zone_sync = require "zedcup.zone_sync"

local ngx = ngx
local type = type
local pairs = pairs
local ipairs = ipairs

local _M = { _VERSION = "0.1.0" }

local DICTS = {
    cache = "zedcup_cache",
    locks = "zedcup_locks",
    ipc = "zedcup_ipc",
}

local options            -- JSON for the module; set by init()
local dict_names
local runs               -- in this worker; zedcup_store alone does not count


local function check_dicts(dicts)
    if dicts ~= nil and type(dicts) ~= "table" then
        return nil, "dicts: expected a table, got " .. type(dicts)
    end
    local names = {}
    for role, default in pairs(DICTS) do
        local name = dicts and dicts[role]
        if name == nil then
            name = default
        end
        if type(name) ~= "string" then
            return nil, "dicts." .. role .. ": expected a string, got " .. type(name)
        end
        if not ngx.shared[name] then
            return false, role .. " dictionary not found: " .. name
        end
        names[role] = name
    end
    return names
end


local function encode_options(opts)
    local store
    for _, key in ipairs({ "consul", "etcd", "embedded" }) do
        if opts[key] ~= nil and type(opts[key]) ~= "table" then
            return nil, key .. ": expected a table, got " .. type(opts[key])
        end
        if opts[key] and store then
            return nil, store .. ", " .. key .. ": only one store at a time"
        end
        store = opts[key] and key or store
    end
    if opts.prefix ~= nil and type(opts.prefix) ~= "string" then
        return nil, "prefix: expected a string, got " .. type(opts.prefix)
    end
    return encode.encode({
        prefix = opts.prefix,
        consul = opts.consul,
        etcd = opts.etcd,
        embedded = opts.embedded,
    })
end


--- Tells zedcup where its configuration is kept. Call in init_by_lua.
---@param opts table|nil prefix ("zedcup"), consul ({}), etcd or embedded ({ path }),
--- dicts
---@return boolean|nil ok false: a shared dictionary is missing
---@return string|nil err
function _M.init(opts)
    if opts ~= nil and type(opts) ~= "table" then
        return nil, "expected a table of options, got " .. type(opts)
    end
    opts = opts or {}
    local ok, err = zffi.available()
    if not ok then
        return nil, err
    end
    local names
    names, err = check_dicts(opts.dicts)
    if not names then
        return names, err
    end
    local json
    json, err = encode_options(opts)
    if not json then
        return nil, err
    end
    ok, err = zffi.check_options(json)
    if not ok then
        return nil, err
    end
    options, dict_names = json, names
    return true
end


---@return boolean
function _M.initted()
    return options ~= nil
end


local function require_init()
    if not options then
        return nil, "zedcup is not initialised: call init() first"
    end
    return true
end


--- Starts zedcup in this worker. Call in init_worker_by_lua; a second call does
--- nothing.
---@return nil
---@return string|nil err also logged
function _M.run_workers()
    local ok, err = require_init()
    if ok and not runs then
        local sema
        sema, err = dispatcher.start(ngx.shared[dict_names.cache])
        if sema then
            ok, err = zffi.start(options, sema)
            runs = ok ~= nil
            if not runs then
                dispatcher.give_up()
            end
        end
    end
    if err then
        ngx.log(ngx.ERR, "zedcup: cannot run: ", err)
        return nil, err
    end
end


-- Waits for the very first content where the phase allows it.
local function require_sync()
    local ok, err = require_init()
    if not ok then
        return nil, err
    end
    local state = zffi.state()
    if state.synced then
        return true
    end
    if not state.running then
        return nil, "zedcup is not running in this worker: call run_workers()"
    end
    return dispatcher.ask(zffi.ASK_SYNCED, "", "")
end


--- The global settings, with defaults.
---@return table|nil config
---@return string|nil err
function _M.config()
    local ok, err = require_sync()
    if not ok then
        return nil, err
    end
    return cjson.decode(zffi.global_json())
end


local function write(what, name, config)
    local ok, err = require_init()
    if not ok then
        return nil, err
    end
    local json
    json, err = encode.encode(config)
    if not json then
        return nil, err
    end
    return dispatcher.ask(what, name, json)
end


--- Overwrites the global settings.
---@param config table
---@return boolean|nil ok
---@return string|nil err
function _M.configure(config)
    return write(zffi.ASK_CONFIGURE, "", config)
end


local function check_name(name)
    if type(name) ~= "string" or name == "" then
        return nil, "instance: expected a name, got "
                    .. (name == "" and "an empty string" or type(name))
    end
    return true
end


--- Sets an instance, clearing what was configured and known about it before.
--- Nothing is written unless all of it is valid. Returns once this worker
--- serves it.
---@param name string
---@param config table
---@return boolean|nil ok
---@return string|nil err names the place: `pools[1].hosts[2].port: …`
function _M.configure_instance(name, config)
    local ok, err = check_name(name)
    if not ok then
        return nil, err
    end
    return write(zffi.ASK_CONFIGURE_INSTANCE, name, config)
end


--- Deletes an instance and what is known about it.
---@param name string
---@return boolean|nil ok
---@return string|nil err
function _M.remove_instance(name)
    local ok, err = check_name(name)
    if not ok then
        return nil, err
    end
    return write(zffi.ASK_REMOVE_INSTANCE, name, {})
end


--- All instances: iterable with ipairs, and with a key for each name.
---@return table|nil list
---@return string|nil err
function _M.instance_list()
    local ok, err = require_sync()
    if not ok then
        return nil, err
    end
    local list = cjson.decode(zffi.instance_list_json())
    for _, name in ipairs(list) do
        list[name] = true
    end
    return list
end


--- Binds a callback to an event for all instances of this worker.
---@param event string host_connect, host_connect_error, host_request_error, host_up, host_down
---@param callback function(instance, data)
---@param opts table|nil scope, of host_down and host_up: "cluster" (once in it, on the
--- node that made it), "node" (once on every node), "worker" (in every worker)
---@return boolean|nil ok
---@return string|nil err
function _M.bind(event, callback, opts)
    return events.bind_global(event, callback, opts)
end


--- Keeps the peers of one of nginx's own upstream zones equal to the hosts of an
--- instance. Call in init_worker_by_lua.
---@param zone string
---@param name string of the instance
---@return boolean|nil ok
---@return string|nil err
function _M.sync_zone(zone, name)
    local ok, err = require_init()
    if not ok then
        return nil, err
    end
    if type(zone) ~= "string" or zone == "" then
        return nil, "zone: expected a name, got "
                    .. (zone == "" and "an empty string" or type(zone))
    end
    ok, err = check_name(name)
    if not ok then
        return nil, err
    end
    if ngx.get_phase() ~= "init_worker" then
        return nil, "zone \"" .. zone .. "\": call sync_zone() in init_worker_by_lua, "
                    .. "so that every worker knows of it"
    end
    return zone_sync.add(zone, name)
end


--- A handler for one request.
---@param name string
---@param opts table|nil key (string): what the method `hash` chooses by
---@return table|nil handler
---@return string|nil err
function _M.create_handler(name, opts)
    local ok, err = check_name(name)
    if not ok then
        return nil, err
    end
    local key
    if opts ~= nil then
        key, err = handler.key_of(opts)
        if err then
            return nil, err
        end
    end
    local view = options and instances.get(name)
    if not view then
        ok, err = require_sync()
        if not ok then
            return nil, err
        end
        view = instances.get(name)
        if not view then
            return nil, "no such instance: " .. name
        end
    end
    return handler.new(view, key)
end


return _M
