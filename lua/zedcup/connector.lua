-- Opens connections to hosts: cosockets, or any lua-resty client that has
-- `connect` and `set_timeout`.

local client_cert = require "zedcup.client_cert"
local tls_of_http = require "zedcup.http.tls"

local get_phase = ngx.get_phase
local ngx_tcp = ngx.socket.tcp
local type = type
local tostring = tostring
local pcall = pcall

local is_resumable = tls_of_http.is_resumable
local shake = tls_of_http.shake

local NO_TIMEOUTS = {}

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
    if host.port then
        ok, err = sock:connect(host.address, host.port, host.options)
    else
        ok, err = sock:connect(host.address, host.options)
    end
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
    if host.port then
        ok, err = client:connect(host.address, host.port, host.options)
    else
        ok, err = client:connect(host.address, host.options)
    end
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
