-- Opens connections to hosts: cosockets, or any lua-resty client that has
-- `connect` and `set_timeout`.

local addresses = require "zedcup.addresses"
local client_cert = require "zedcup.client_cert"
local tls_of_http = require "zedcup.http.tls"

local get_phase = ngx.get_phase
local ngx_tcp = ngx.socket.tcp
local type = type
local tostring = tostring
local pcall = pcall

local find = string.find
local is_resumable = tls_of_http.is_resumable
local min = math.min
local next_target = addresses.next
local refresh = addresses.refresh
local shake = tls_of_http.shake

local target_failed = addresses.failed

local NO_TIMEOUTS = {}

-- Addresses of one host that a request tries before it goes on to the next.
local MAX_TARGETS = 3

-- Phases in which ngx.socket.tcp() cannot raise. LuaJIT compiles no path that
-- leads through pcall() into a C function.
local COSOCKET_PHASES = { rewrite = true, access = true, content = true, timer = true }

local _M = {}


-- The instance's own certificate, and its connections apart from those with
-- another one. Nothing to do but the first time.
local function take_cert(host)
    local tls = host.tls
    if not tls or not tls.cert or tls.pair then
        return true
    end
    local pair, err = client_cert.get(tls.cert)
    if not pair then
        return nil, err
    end
    host.suffix = host.suffix .. ":" .. pair.digest
    host.options.pool = host.options.pool .. ":" .. pair.digest
    tls.pair = pair
    return true
end


local function show_cert(sock, pair)
    if type(sock) ~= "table" or not sock.setclientcert then
        return nil, "this ngx_lua, or the client driver, has no client certificates"
    end
    return sock:setclientcert(pair.cert, pair.key)
end


-- `sock` is the cosocket below, where it can be reached; `session` one to
-- resume, or false for a handshake that may not know sessions.
local function handshake(client, method, tls, sock, session)
    local ok, err, result = true, nil, nil
    if tls.pair then
        ok, err = show_cert(sock, tls.pair)
    end
    if ok then
        result, err = shake(client, method, tls.who, session)
    end
    if err then
        return nil, "TLS handshake: " .. tostring(err)
    end
    return result
end


-- Sessions are asked for only of cosockets, and kept where they will help.
local function secure_socket(sock, tls)
    local session, err = handshake(sock, "sslhandshake", tls, sock, tls.session)
    tls.session = is_resumable(session) and session or nil
    return not err, err
end


local function make_target(host, address)
    return { address = address, failed = 0,
             options = { pool = address .. ":" .. host.port .. host.suffix } }
end


-- Tries the addresses of a host in turn; it has at least one.
local function connect_targets(client, host, count)
    local target, ok, err
    for _ = 1, min(count, MAX_TARGETS) do
        target = next_target(host.names)
        ok, err = client:connect(target.address, host.port, target.options)
        if ok then
            return ok
        end
        target_failed(target)
    end
    return nil, err or "connect failed"
end


-- A name that is not known yet is resolved by the cosocket, which waits for it;
-- meanwhile its addresses come for those after it.
local function connect_named(client, host)
    local count = refresh(host.names, make_target, host)
    if count > 0 then
        return connect_targets(client, host, count)
    end
    local ok, err = client:connect(host.address, host.port, host.options)
    if ok then
        return ok
    end
    count = refresh(host.names, make_target, host)
    if count > 0 then
        return connect_targets(client, host, count)
    end
    err = tostring(err)
    if find(err, "no resolver defined", 1, true) then
        err = err .. ": nginx.conf needs a \"resolver\" directive"
    end
    return nil, err
end


local function connect(client, host)
    if host.names then
        return connect_named(client, host)
    elseif host.port then
        return client:connect(host.address, host.port, host.options)
    end
    return client:connect(host.address, host.options)
end


local function new_socket()
    if COSOCKET_PHASES[get_phase()] then
        return ngx_tcp()
    end
    local called, sock, err = pcall(ngx_tcp)
    if not called then
        return nil, sock
    end
    return sock, err
end


--- Opens a cosocket to a host, from its keepalive pool where possible.
---@param pool table of zedcup.instances
---@param host table of zedcup.instances
---@param timeouts table|nil connect, send, read in milliseconds; nil: the pool's
---@return table|nil sock
---@return string|nil err
---@return boolean|nil hopeless no host could be reached, from this phase or
---with this certificate
function _M.open(pool, host, timeouts)
    local sock, ok, err
    local tls = host.tls
    if tls then
        ok, err = take_cert(host)
        if not ok then
            return nil, err, true
        end
    end
    sock, err = new_socket()
    if not sock then
        return nil, err, true
    end
    timeouts = timeouts or NO_TIMEOUTS
    sock:settimeouts(timeouts.connect or pool.timeout, timeouts.send or pool.read_timeout,
                     timeouts.read or pool.read_timeout)
    ok, err = connect(sock, host)
    if not ok then
        return nil, err
    end
    if tls and sock:getreusedtimes() == 0 then
        ok, err = secure_socket(sock, tls)
        if not ok then
            sock:close()
            return nil, err
        end
    end
    return sock
end


local function set_timeout(client, timeout)
    local set = client.set_timeout or client.settimeout
    set(client, timeout)
end


-- A resty client either shakes hands itself or has its cosocket in `sock`.
local function secure(client, tls)
    local reused = client.get_reused_times or client.getreusedtimes
    if reused and (reused(client) or 0) > 0 then
        return true
    end
    local sock = client.sock or client
    for _, method in ipairs({ "ssl_handshake", "sslhandshake" }) do
        if client[method] then
            return handshake(client, method, tls, sock, false)
        end
    end
    if type(sock) == "table" and sock.sslhandshake then
        return secure_socket(sock, tls)
    end
    return nil, "the client driver has no TLS handshake"
end


--- Whether connect() below can drive it.
---@param client any
---@return boolean
function _M.is_client(client)
    return type(client) == "table" and type(client.connect) == "function"
           and type(client.set_timeout or client.settimeout) == "function"
end


local function drive(client, pool, host)
    local ok, err = take_cert(host)
    if not ok then
        return nil, err, true
    end
    set_timeout(client, pool.timeout)
    ok, err = connect(client, host)
    if not ok then
        return nil, err or "connect failed"
    end
    if host.tls then
        ok, err = secure(client, host.tls)
        if not ok then
            if client.close then
                client:close()
            end
            return nil, err
        end
    end
    set_timeout(client, pool.read_timeout)
    return true
end


--- Connects a cosocket or a resty client to a host.
---@param client table
---@param pool table of zedcup.instances
---@param host table of zedcup.instances
---@return boolean|nil ok
---@return string|nil err
---@return boolean|nil hopeless as above
function _M.connect(client, pool, host)
    -- A driver is other people's code: what it raises is a failed connect.
    local called, ok, err, hopeless = pcall(drive, client, pool, host)
    if not called then
        return nil, tostring(ok)
    end
    return ok, err, hopeless
end


return _M
