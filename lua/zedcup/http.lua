--- An HTTP/1 client on cosockets, with the method names of lua-resty-http.
--
-- It stands in for a lua-resty-http object and is what zedcup's handler talks
-- to hosts with. Nothing that the network or an argument does raises an error:
-- a method that cannot do its work returns nil and a text. Not supported:
-- pipelining (a request waits for the body before it), HTTP/2, forward
-- proxies.
--
--   local http = require("zedcup.http")
--   local c = http.new()
--   c:connect({ scheme = "https", host = "example.com" })
--   local res, err, stage = c:request({ path = "/" })
--   local body = res:read_body()
--   c:set_keepalive(60000, 64)
--
-- Whoever connects a cosocket himself hands it over:
--
--   local c = http.wrap(sock, "example.com")
--   local res, err, stage = c:request({ path = "/" })
--
-- When request() fails, its third result says at which stage:
--   "request" refused before a byte was sent: a bad argument, or a connection
--             in no state for a request; a fresh connection is as good as new
--   "body"    the caller's body iterator failed; not the host's doing
--   "stale"   a pooled connection was closed by the other side before any byte
--             of an answer came: a host may do that, another connection to it
--             may well work
--   "send"    the connection failed while the request was being sent
--   "answer"  no answer came in time, or not a whole or proper one
-- c:request_sent(), c:response_started() and c:body_replayable() tell what a
-- retry has to know besides.

local connection = require("zedcup.http.connection")
local exchange = require("zedcup.http.exchange")
local peers = require("zedcup.http.peers")
local proxy = require("zedcup.http.proxy")
local uri = require("zedcup.http.uri")

local setmetatable = setmetatable
local type = type

local VERSION = "0.1.0"

local LIMITS = { header_bytes = 65536, header_lines = 256 }

---@class zedcup.http.client: zedcup.http.buffered
local _M = { _VERSION = VERSION }
local mt = { __index = _M }

_M.user_agent = "zedcup/" .. VERSION .. " (Lua)"
_M.limits = LIMITS
_M.consumed = false


-- All fields at once and none of them nil, so that the table never grows; see
-- exchange.lua for their meaning.
local function new_client(sock, authority)
    local c = {
        sock = sock, buf = "", pos = 1, answer = false,
        ending = false, progress = 0, peer = false, authority = authority,
    }
    setmetatable(c, mt)
    return c
end


---A client that is not connected yet. Given a connected cosocket: wrap().
---@param sock? tcpsock
---@return zedcup.http.client|nil
---@return string|nil err
function _M.new(sock)
    if sock ~= nil then
        return _M.wrap(sock)
    end
    local new_sock, err = connection.new_socket()
    if not new_sock then
        return nil, err
    end
    return new_client(new_sock, false)
end


---A client over a cosocket that is connected (and has shaken hands) already.
---Nothing may be unread on it. From now on read through the client: it may
---hold bytes that the cosocket no longer has.
---@param sock tcpsock
---@param authority? string the default Host header; "localhost" without it
---@return zedcup.http.client|nil
---@return string|nil err
function _M.wrap(sock, authority)
    if type(sock) ~= "table" or type(sock.receiveany) ~= "function" then
        return nil, "bad socket: a cosocket expected"
    end
    if authority ~= nil and not peers.is_name(authority) then
        return nil, "bad authority"
    end
    return new_client(sock, authority or "localhost")
end


_M.connect = connection.connect
_M.ssl_handshake = connection.ssl_handshake
_M.set_timeout = connection.set_timeout
_M.set_timeouts = connection.set_timeouts
_M.set_keepalive = connection.set_keepalive
_M.get_reused_times = connection.get_reused_times
_M.close = connection.close
_M.set_proxy_options = connection.set_proxy_options
_M.connect_proxy = connection.connect_proxy
_M.request_pipeline = connection.request_pipeline


---Sends a request and reads the head of its answer. Yields.
---
---`params`: `method` ("GET"), `path` ("/"), `query` (a string or a table),
---`headers` (values are strings, numbers, or arrays of these), `body` (a
---string, an array of strings, or an iterator that returns nil at its end, or
---nil and an error), `version` (1.1 or 1.0). Host, User-Agent and what
---delimits the body are added unless given. With `Expect: 100-continue` the
---body waits for the server's word, at most for one read time-out.
---@param params table
---@return zedcup.http.answer|nil
---@return string|nil err
---@return "request"|"body"|"stale"|"send"|"answer"|nil stage see above
function _M:request(params)
    return exchange.run(self, params)
end


---Whether bytes of the last request may have reached the other side.
---@return boolean
function _M:request_sent()
    return self.progress > 0
end


---Whether a byte of the answer to the last request has come.
---@return boolean
function _M:response_started()
    return self.progress == 2
end


---Whether the body of the last request can be sent again: false once an
---iterator has been called.
---@return boolean
function _M:body_replayable()
    return not self.consumed
end


---Bytes that came after the head of an answer without a body. After a 101, or
---a 2xx to CONNECT, they belong to the new protocol, spoken over `sock`.
---@return string
function _M:take_unread()
    local text = self.buf:sub(self.pos)
    self.buf, self.pos = "", 1
    return text
end


---Sets what an answer's head and its trailers may take.
---@param header_bytes? integer default 65536
---@param header_lines? integer default 256
---@return true|nil
---@return string|nil err
function _M:set_limits(header_bytes, header_lines)
    local bytes = header_bytes or LIMITS.header_bytes
    local lines = header_lines or LIMITS.header_lines
    if type(bytes) ~= "number" or bytes < 1 or type(lines) ~= "number"
        or lines < 0
    then
        return nil, "bad limits"
    end
    self.limits = { header_bytes = bytes, header_lines = lines }
    return true
end


---Takes a URI apart.
---@param text string
---@param query_in_path? boolean default true
---@return table|nil parts { scheme, host, port, path, query }
---@return string|nil err
function _M.parse_uri(_, text, query_in_path)
    local parts, err = uri.parse(text)
    if not parts then
        return nil, err
    end
    local path, query = parts.path, parts.query or ""
    if query_in_path ~= false then
        path = parts.query and path .. "?" .. query or path
        query = nil
    end
    return { parts.scheme, parts.host, parts.port, path, query }
end


-- Parameters as given, with what they lack from the URI. A path or query of
-- their own takes the place of the URI's.
local function complete(params, parts)
    local all = { scheme = parts.scheme, host = parts.host, port = parts.port,
                  path = parts.path, query = parts.query }
    for key, value in pairs(params) do
        all[key] = value
    end
    if params.path ~= nil and params.query == nil then
        all.query = nil
    end
    if params.scheme and params.port == nil then
        all.port = nil
    end
    return all
end


local function read_and_release(c, res, params)
    local body, err = res:read_body()
    if not body then
        c:close()
        return nil, err
    end
    res:read_trailers()
    res.body = body
    if params.keepalive == false then
        c:close()
    else
        c:set_keepalive(params.keepalive_timeout, params.keepalive_pool)
    end
    return res
end


---Connects, sends a request, reads all of the answer into `res.body`, and puts
---the connection into its pool or closes it. Yields.
---
---`params` takes what connect() and request() take, which comes before what
---the URI says, and `keepalive` (false closes), `keepalive_timeout` (ms),
---`keepalive_pool` (connections).
---@param text string
---@param params? table
---@return zedcup.http.answer|nil
---@return string|nil err
---@return string|nil stage as for request(); "connect" before it
function _M:request_uri(text, params)
    if params ~= nil and type(params) ~= "table" then
        return nil, "bad params: a table expected", "request"
    end
    local parts, err = uri.parse(text)
    if not parts then
        return nil, err, "request"
    end
    local all = complete(params or {}, parts)
    local ok
    ok, err = self:connect(all)
    if not ok then
        return nil, err, "connect"
    end
    local res, stage
    res, err, stage = self:request(all)
    if not res then
        self:close()
        return nil, err, stage
    end
    return read_and_release(self, res, all)
end


_M.get_client_body_reader = proxy.get_client_body_reader
_M.proxy_request = proxy.proxy_request
_M.proxy_response = proxy.proxy_response


return _M
