--- Connects, secures, pools and closes the cosocket of a client. Methods of
--- zedcup.http; the checks of arguments are here because cosockets raise.

local peers = require("zedcup.http.peers")
local tls = require("zedcup.http.tls")
local uri = require("zedcup.http.uri")

local DEFAULT_PORTS = uri.DEFAULT_PORTS
local concat = table.concat
local find_peer = peers.find
local is_name = peers.is_name
local pcall = pcall
local tcp = ngx.socket.tcp
local tostring = tostring
local type = type

-- Cosockets keep milliseconds in an int.
local MAX_MS = 2 ^ 31 - 1

local NO_PROXIES = "proxies are not supported"

local _M = {}


---A cosocket, or nil, err in a phase that has none.
function _M.new_socket()
    local ok, sock, err = pcall(tcp)
    if not ok then
        return nil, sock
    end
    return sock, err
end


local function is_count(value, least, most)
    return type(value) == "number" and value >= least and value <= most
        and value % 1 == 0
end


-- The options of a cosocket's connect(), checked.
local function pool_options(opts)
    if opts == nil then
        return nil
    end
    if type(opts) ~= "table" then
        return nil, "bad options: a table expected"
    end
    local pool, size, backlog = opts.pool, opts.pool_size, opts.backlog
    if pool == nil and size == nil and backlog == nil then
        return nil
    end
    if pool ~= nil and type(pool) ~= "string" and type(pool) ~= "number" then
        return nil, "bad option pool"
    end
    if size ~= nil and not is_count(size, 1, MAX_MS) then
        return nil, "bad option pool_size"
    end
    if backlog ~= nil and not is_count(backlog, 0, MAX_MS) then
        return nil, "bad option backlog"
    end
    return { pool = pool, pool_size = size, backlog = backlog }
end


-- Forgets the connection before.
local function reset(c, peer)
    c.buf, c.pos, c.answer = "", 1, false
    c.ending, c.progress = false, 0
    c.peer, c.authority = peer, peer.http
end


local function open(c, host, port, opts)
    local peer, err = find_peer(host, port)
    if not peer then
        return nil, err
    end
    local options
    options, err = pool_options(opts)
    if err then
        return nil, err
    end

    reset(c, peer)
    local ok
    if peer.is_unix then
        ok, err = c.sock:connect(peer.name, options)
    elseif options then
        ok, err = c.sock:connect(peer.name, peer.port, options)
    else
        ok, err = c.sock:connect(peer.name, peer.port)
    end
    if not ok then
        c.ending = true
        return nil, err
    end
    return true
end


-- A pool of its own for everything that makes one TLS connection differ from
-- another: a pooled connection has shaken hands, and with whom is settled.
local function tls_pool(o, host, port, who)
    return concat({ "https", host, tostring(port), tostring(who.name),
                    tostring(who.verify), tls.number_of(o.ssl_client_cert),
                    tls.number_of(o.ssl_client_priv_key) }, ":")
end


-- TLS is spoken from now on, or the connection is of no more use.
local function handshake(c, who, session)
    local result, err = tls.shake(c.sock, "sslhandshake", who, session)
    if err then
        c.ending = true
        return nil, err
    end
    if c.peer then
        c.authority = c.peer.https
    end
    return result
end


---Performs the TLS handshake on a connection that has not had one. Yields.
---@param session? userdata|boolean to resume; false: return none
---@param server_name? string for SNI and the check of the certificate
---@param verify? boolean default false
---@param send_status_req? boolean OCSP stapling
---@return userdata|boolean|nil session
---@return string|nil err
function _M:ssl_handshake(session, server_name, verify, send_status_req)
    if server_name ~= nil and not is_name(server_name) then
        return nil, "bad server name"
    end
    return handshake(self, { name = server_name, verify = verify,
                             ocsp = send_status_req }, session)
end


local function set_client_cert(sock, o)
    if not sock.setclientcert then
        return nil, "this ngx_lua has no client certificates"
    end
    return sock:setclientcert(o.ssl_client_cert, o.ssl_client_priv_key)
end


local function secure(c, o, who)
    if o.ssl_client_cert or o.ssl_client_priv_key then
        local ok, err = set_client_cert(c.sock, o)
        if not ok then
            return nil, err
        end
    end
    local session = o.ssl_reused_session
    if session == nil then
        session = false
    end
    return handshake(c, who, session)
end


-- Whom to expect at the other side; or nil and an error.
local function identify(o, host)
    local who = { verify = o.ssl_verify ~= false, ocsp = o.ssl_send_status_req }
    if o.ssl_server_name == nil then
        who.name, who.address = tls.identity_of(host)
    elseif is_name(o.ssl_server_name) then
        who.name = o.ssl_server_name
    else
        return nil, "bad server name"
    end
    if who.verify and not who.name and not who.address then
        return nil, "ssl_server_name is required to verify over a unix socket"
    end
    return who
end


local function connect_tls(c, o, host, port)
    local who, err = identify(o, host)
    if not who then
        return nil, err
    end
    local opts = { pool = o.pool or tls_pool(o, host, port, who),
                   pool_size = o.pool_size, backlog = o.backlog }
    local ok
    ok, err = open(c, host, port, opts)
    if not ok then
        return nil, err
    end
    if c.sock:getreusedtimes() ~= 0 then
        c.authority = c.peer.https
        return true
    end
    local session
    session, err = secure(c, o, who)
    if err then
        c:close()
        return nil, err
    end
    return true, nil, session
end


local function connect_by_table(c, o)
    local host, port, scheme = o.host, o.port, o.scheme
    if scheme ~= nil and not DEFAULT_PORTS[scheme] then
        return nil, "bad scheme: http or https expected"
    end
    if type(host) ~= "string" then
        return nil, "bad host"
    end
    if o.proxy_opts ~= nil then
        return nil, NO_PROXIES
    end
    if port == nil then
        port = DEFAULT_PORTS[scheme or "http"]
    end
    if scheme == "https" then
        return connect_tls(c, o, host, port)
    end
    return open(c, host, port, o)
end


---Connects, from a pool where one has a connection. Yields.
---
---`connect(host, port, opts?)`, `connect("unix:/path", opts?)`: TCP only; opts
---are `pool`, `pool_size`, `backlog` of cosockets. `connect(options)` takes
---these and `scheme` ("http"), `host`, `port`, and for https `ssl_verify`
---(true), `ssl_server_name`, `ssl_reused_session`, `ssl_send_status_req`,
---`ssl_client_cert` and `ssl_client_priv_key`, and shakes hands. The
---certificate must be for `ssl_server_name`, else for `host`.
---@param host string|table
---@param port? integer|string|table
---@param opts? table
---@return boolean|nil ok
---@return string|nil err
---@return userdata|nil session of the form with a table, if asked for
function _M:connect(host, port, opts)
    if type(host) == "table" then
        return connect_by_table(self, host)
    end
    if type(port) == "table" then
        port, opts = nil, port
    end
    return open(self, host, port, opts)
end


---Names of lua-resty-http that have nothing behind them here.
---@return nil
---@return string err
function _M.set_proxy_options()
    return nil, NO_PROXIES
end
_M.connect_proxy = _M.set_proxy_options


---@return nil
---@return string err
function _M.request_pipeline()
    return nil, "pipelining is not supported"
end


---Sets the time-out of connecting, sending and reading.
---@param ms integer
---@return true|nil
---@return string|nil err
function _M:set_timeout(ms)
    if not is_count(ms, 0, MAX_MS) then
        return nil, "bad timeout"
    end
    self.sock:settimeout(ms)
    return true
end


---Sets the time-outs one by one; nil leaves the configured one.
---@param connect_ms? integer
---@param send_ms? integer
---@param read_ms? integer
---@return true|nil
---@return string|nil err
function _M:set_timeouts(connect_ms, send_ms, read_ms)
    if (connect_ms and not is_count(connect_ms, 0, MAX_MS))
        or (send_ms and not is_count(send_ms, 0, MAX_MS))
        or (read_ms and not is_count(read_ms, 0, MAX_MS))
    then
        return nil, "bad timeout"
    end
    self.sock:settimeouts(connect_ms, send_ms, read_ms)
    return true
end


-- Whether nothing of the last exchange can show up in the next one.
local function is_clean(c)
    local last = c.answer
    return not c.ending and c.pos > #c.buf
        and (not last or (last.done and last.keep_alive and not last.err))
end


---Puts the connection into its pool, or closes it where it must not be reused:
---either side asked for its end, the exchange failed, the body was not read to
---its end, or more came than the answer.
---@param timeout_ms? integer how long it may idle; 0: for ever
---@param pool_size? integer
---@return 1|2|nil result 1: pooled; 2: closed, with "connection must be closed"
---@return string|nil err
function _M:set_keepalive(timeout_ms, pool_size)
    if timeout_ms ~= nil and not is_count(timeout_ms, 0, MAX_MS) then
        return nil, "bad timeout"
    end
    if pool_size ~= nil and not is_count(pool_size, 1, MAX_MS) then
        return nil, "bad pool size"
    end
    if not is_clean(self) then
        local ok, err = self:close()
        if not ok then
            return nil, err
        end
        return 2, "connection must be closed"
    end
    self.ending = true
    local ok, err = self.sock:setkeepalive(timeout_ms, pool_size)
    if not ok then
        self.sock:close()
        return nil, err
    end
    return 1
end


---How often the connection was used before.
---@return integer|nil
---@return string|nil err
function _M:get_reused_times()
    return self.sock:getreusedtimes()
end


---Closes the connection.
---@return 1|nil
---@return string|nil err
function _M:close()
    self.ending = true
    return self.sock:close()
end


return _M
