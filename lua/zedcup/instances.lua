-- Each instance as this worker's Lua sees it: the module's immutable content
-- of one revision, decoded once, with what a request needs laid out flat.
-- A request keeps the view that it began with.

local cjson = require("cjson.safe").new()
local zffi = require "zedcup.ffi"

local authority_of = require("zedcup.http.uri").authority
local find = string.find
local ipairs = ipairs
local pairs = pairs

local _M = {}

local views = {}         -- name -> view
local epoch              -- cdata: changes with any content
local checked = {}       -- name -> epoch at which the view was last compared


local function link_hosts(pool)
    local bare = {}
    for key, value in pairs(pool) do
        if key ~= "hosts" then
            bare[key] = value
        end
    end
    for _, host in ipairs(pool.hosts) do
        host._pool = bare
    end
end


--- The configuration with defaults, as handler:config() gives it; a new table
--- with each call.
---@param view table
---@return table
function _M.config(view)
    local config = cjson.decode(zffi.instance_json(view.instance))
    for _, pool in ipairs(config.pools) do
        link_hosts(pool)
    end
    return config
end


-- TLS connections must never serve a plain instance, nor one with another
-- name or less verification.
local function socket_pool(name, ssl)
    if not ssl then
        return { pool = name }
    end
    return {
        pool = name .. ":tls:" .. (ssl.ssl_verify and "verify" or "any") .. ":"
               .. (ssl.sni_name or ""),
    }
end


local function make_host(host, place, ssl, pool_index)
    local address, port = host.host, host.port
    local name
    if find(address, "unix:", 1, true) == 1 then
        port = nil
        name = address
    else
        name = address .. ":" .. port
    end
    return {
        place = place,
        address = address,
        port = port,
        authority = authority_of(ssl and "https" or "http", address, port),
        key = pool_index .. "/" .. host._idx .. "/" .. name,
        options = socket_pool(name, ssl),
        config = host,
    }
end


local function make_pool(pool, place, ssl)
    local hosts = {}
    for i, host in ipairs(pool.hosts) do
        hosts[i - 1] = make_host(host, i - 1, ssl, pool._idx)
    end
    return {
        place = place,
        up = pool.up,
        timeout = pool.timeout,
        read_timeout = pool.read_timeout,
        keepalive_timeout = pool.keepalive_timeout,
        keepalive_pool = pool.keepalive_pool,
        retry_non_idempotent = pool.retry_non_idempotent,
        status_codes = pool.status_codes,
        failing = {},        -- status -> boolean, filled as they come
        hosts = hosts,
        host_count = #pool.hosts,
        config = pool,
    }
end


local function make_view(name, instance)
    local view = { name = name, instance = instance }
    local config = _M.config(view)
    view.ssl = config.ssl or nil
    view.pools = {}
    for i, pool in ipairs(config.pools) do
        view.pools[i] = make_pool(pool, i - 1, view.ssl)
        if pool.up and not view.first_pool then
            view.first_pool = view.pools[i]
        end
    end
    return view
end


local function refresh(name, now)
    local instance = zffi.acquire(name)
    checked[name] = instance and now or nil
    if not instance then
        views[name] = nil
        return nil
    end
    local view = views[name]
    if not view or view.instance ~= instance then
        view = make_view(name, instance)
        views[name] = view
    end
    return view
end


--- The current view of an instance.
---@param name string
---@return table|nil view
function _M.get(name)
    if not epoch then
        epoch = zffi.epoch()
    end
    local now = epoch[0]
    if checked[name] == now then
        return views[name]
    end
    return refresh(name, now)
end


return _M
