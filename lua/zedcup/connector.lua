-- Opens connections to hosts: cosockets, or any lua-resty client that has
-- `connect` and `set_timeout`.

local get_phase = ngx.get_phase
local ngx_tcp = ngx.socket.tcp
local type = type
local tostring = tostring
local pcall = pcall

local NO_TIMEOUTS = {}

-- Phases in which ngx.socket.tcp() cannot raise. LuaJIT compiles no path that
-- leads through pcall() into a C function.
local COSOCKET_PHASES = { rewrite = true, access = true, content = true, timer = true }

local _M = {}


local function is_ip(address)
    return address:find("^%d+%.%d+%.%d+%.%d+$") or address:find(":", 1, true)
end


-- The name to send and to verify: as configured, else the host's own.
local function server_name(ssl, host)
    if ssl.sni_name then
        return ssl.sni_name
    end
    local address = host.config.host
    return not is_ip(address) and address or nil
end


local function handshake(sock, method, ssl, host)
    local shake = sock[method]
    local ok, err = shake(sock, false, server_name(ssl, host), ssl.ssl_verify)
    if not ok then
        return nil, "TLS handshake: " .. tostring(err)
    end
    return true
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
---@param ssl table|nil the instance's
---@param timeouts table|nil connect, send, read in milliseconds; nil: the pool's
---@return table|nil sock
---@return string|nil err
---@return boolean|nil hopeless no host could be reached from this phase
function _M.open(pool, host, ssl, timeouts)
    local sock, ok, err
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
    if ssl and sock:getreusedtimes() == 0 then
        ok, err = handshake(sock, "sslhandshake", ssl, host)
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
local function secure(client, ssl, host)
    local reused = client.get_reused_times or client.getreusedtimes
    if reused and (reused(client) or 0) > 0 then
        return true
    end
    for _, method in ipairs({ "ssl_handshake", "sslhandshake" }) do
        if client[method] then
            return handshake(client, method, ssl, host)
        end
    end
    if type(client.sock) == "table" and client.sock.sslhandshake then
        return handshake(client.sock, "sslhandshake", ssl, host)
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


local function drive(client, pool, host, ssl)
    set_timeout(client, pool.timeout)
    local ok, err
    if host.port then
        ok, err = client:connect(host.address, host.port, host.options)
    else
        ok, err = client:connect(host.address, host.options)
    end
    if not ok then
        return nil, err or "connect failed"
    end
    if ssl then
        ok, err = secure(client, ssl, host)
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
---@param ssl table|nil
---@return boolean|nil ok
---@return string|nil err
function _M.connect(client, pool, host, ssl)
    -- A driver is other people's code: what it raises is a failed connect.
    local called, ok, err = pcall(drive, client, pool, host, ssl)
    if not called then
        return nil, tostring(ok)
    end
    return ok, err
end


return _M
