-- Each instance as this worker's Lua sees it: the module's immutable content
-- of one revision, decoded once, with what a request needs laid out flat.
-- A request keeps the view that it began with.

local cjson = require("cjson.safe").new()
local zffi = require "zedcup.ffi"

local addresses = require("zedcup.addresses")
local client_cert = require("zedcup.client_cert")
local identity_of = require("zedcup.http.tls").identity_of
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


-- Whether a host is given by a name that has to be resolved.
local function is_name(address)
    return identity_of(address) ~= nil
end


-- What TLS with a host takes: whom to expect, the instance's own certificate,
-- and the session that saves part of the next handshake. A session belongs to
-- one host of one revision: it cannot stand in for less verification.
local function make_tls(ssl, address, cert)
    local who = { verify = ssl.ssl_verify }
    who.name, who.address = identity_of(ssl.sni_name or address)
    return { who = who, cert = cert, pair = nil, session = nil }
end


-- What sets the keepalive pools of a host apart from others at the same address:
-- TLS connections must never serve a plain instance, nor one with another name
-- or less verification. The connector adds the client certificate.
local function pool_suffix(tls)
    if not tls then
        return ""
    end
    local who = tls.who
    return ":tls:" .. (who.verify and "verify" or "any") .. ":"
           .. (who.name or who.address or "")
end


local function make_host(host, place, ssl, cert, pool_index)
    local address, port = host.host, host.port
    local name
    if find(address, "unix:", 1, true) == 1 then
        port = nil
        name = address
    else
        name = address .. ":" .. port
    end
    local tls = ssl and make_tls(ssl, address, cert) or nil
    local suffix = pool_suffix(tls)
    return {
        place = place,
        address = address,
        port = port,
        tls = tls,
        names = is_name(address) and addresses.new(address) or nil,
        authority = authority_of(ssl and "https" or "http", address, port),
        key = pool_index .. "/" .. host._idx .. "/" .. name,
        suffix = suffix,
        options = { pool = name .. suffix },
        config = host,
    }
end


local function make_pool(pool, place, ssl, cert, instance)
    local hosts = {}
    for i, host in ipairs(pool.hosts) do
        hosts[i - 1] = make_host(host, i - 1, ssl, cert, pool._idx)
    end
    return {
        place = place,
        up = pool.up,
        by_key = pool.method == "hash",
        tickets = zffi.wants_tickets(instance, place),
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
    local ssl = config.ssl or nil
    local cert = ssl and ssl.client_cert and client_cert.new(ssl) or nil
    view.pools = {}
    for i, pool in ipairs(config.pools) do
        view.pools[i] = make_pool(pool, i - 1, ssl, cert, instance)
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
