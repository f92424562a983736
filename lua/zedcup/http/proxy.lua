--- Passes the current request of nginx on to a connection and the answer back.
--- Methods of zedcup.http.

local chunked = require("zedcup.http.chunked")
local uri = require("zedcup.http.uri")

local escape_path = uri.escape_path
local gmatch = string.gmatch
local io_open = io.open
local lower = string.lower
local min = math.min
local ngx = ngx
local pairs = pairs
local pcall = pcall
local sub = string.sub
local tonumber = tonumber
local tostring = tostring
local type = type

local CHUNK_SIZE = 65536
-- Of the trailers of a request.
local LIMITS = { header_bytes = 65536, header_lines = 256 }

local _M = {}

-- Headers of one connection, not of the message (RFC 9110, 7.6.1).
local HOP_BY_HOP = {
    ["connection"] = true, ["keep-alive"] = true, ["proxy-connection"] = true,
    ["te"] = true, ["trailer"] = true, ["transfer-encoding"] = true,
    ["upgrade"] = true,
}


-- Calls visit(name, value) for what goes on to the next hop.
local function each_end_to_end(headers, visit)
    local listed = {}
    local connection = headers["connection"]
    if type(connection) == "table" then
        connection = table.concat(connection, ",")
    end
    for token in gmatch(lower(connection or ""), "[^, \t]+") do
        listed[token] = true
    end
    for name, value in pairs(headers) do
        local key = lower(name)
        if not HOP_BY_HOP[key] and not listed[key] then
            visit(name, value)
        end
    end
end


local function is_size(value)
    return type(value) == "number" and value >= 1 and value % 1 == 0
end


local function is_answer(res)
    return type(res) == "table" and type(res.status) == "number"
        and type(res.headers) == "table" and type(res.body_reader) == "function"
end


-- Pieces of a text at hand.
local function text_reader(text, default)
    local pos = 1
    return function(max)
        if pos > #text then
            return nil
        end
        local piece = sub(text, pos, pos + (max or default) - 1)
        pos = pos + #piece
        return piece
    end
end


local function file_reader(path, default)
    local file, err = io_open(path, "rb")
    if not file then
        return nil, err
    end
    return function(max)
        if not file then
            return nil
        end
        local piece
        piece, err = file:read(max or default)
        if not piece then
            file:close()
            file = nil
        end
        return piece, err
    end
end


-- The body of the request after nginx has read it: for what has no socket to
-- read from, which are chunked bodies, HTTP/2, and bodies read already.
local function buffered_reader(default)
    local ok, err = pcall(ngx.req.read_body)
    if not ok then
        return nil, tostring(err)
    end
    local text = ngx.req.get_body_data()
    if text then
        return text_reader(text, default)
    end
    local path = ngx.req.get_body_file()
    if path then
        return file_reader(path, default)
    end
    return nil
end


local function socket_reader(sock, left, default)
    return function(max)
        if left == 0 then
            return nil
        end
        local piece, err, partial = sock:receive(min(max or default, left))
        if not piece then
            return nil, err, partial
        end
        left = left - #piece
        return piece
    end
end


-- A chunked body off a socket that has it as it came: a raw one.
local function chunked_reader(sock, default)
    local conn = { sock = sock, buf = "", pos = 1, limits = LIMITS }
    local body = { left = 0, in_chunk = false, done = false }
    local failed
    return function(max)
        if body.done or failed then
            return nil, failed
        end
        local piece, err, partial = chunked.read(conn, body, max or default)
        failed = err
        return piece, err, partial
    end
end


local function reader_of(sock, length, default)
    if length then
        return socket_reader(sock, length, default)
    end
    if ngx.var.http_transfer_encoding then
        return chunked_reader(sock, default)
    end
    return nil, "no length to read from the socket"
end


---An iterator over the body of the current request, for request()'s `body` or
---for the caller. It reads as it is called; a body without a socket to read
---from (chunked, HTTP/2, read already) is let nginx read first.
---@param chunk_size? integer bytes a call, default 65536
---@param sock? tcpsock       instead of the request's own; a raw one for a body
---in chunks
---@return (fun(max?: integer): string|nil, string|nil)|nil reader nil where
---there is no body
---@return string|nil err
function _M.get_client_body_reader(_, chunk_size, sock)
    chunk_size = chunk_size or CHUNK_SIZE
    if not is_size(chunk_size) then
        return nil, "bad chunk size"
    end
    local length = tonumber(ngx.var.http_content_length)
    if sock then
        return reader_of(sock, length, chunk_size)
    end
    if length == 0 or (not length and not ngx.var.http_transfer_encoding
                       and ngx.req.http_version() < 2)
    then
        return nil
    end

    local ok, own = pcall(ngx.req.socket)
    if length and ok and own then
        return socket_reader(own, length, chunk_size)
    end
    return buffered_reader(chunk_size)
end


---Sends the current request on: its method, URI, arguments, headers but those
---of the connection, and body. Yields.
---@param chunk_size? integer bytes of the body at a time, default 65536
---@return zedcup.http.answer|nil
---@return string|nil err
---@return string|nil stage as for request()
function _M:proxy_request(chunk_size)
    local body, err = self:get_client_body_reader(chunk_size)
    if err then
        return nil, err, "request"
    end
    local headers = {}
    each_end_to_end(ngx.req.get_headers(0), function(name, value)
        headers[name] = value
    end)
    headers["expect"] = nil -- nginx answers it when the body is read
    if not body then
        headers["content-length"] = nil
    end
    return self:request({
        method = ngx.req.get_method(),
        path = escape_path(ngx.var.uri),
        query = ngx.var.args,
        headers = headers,
        body = body,
    })
end


---Answers the current request with an answer: status, headers but those of the
---connection, and body, which flows no faster than the client takes it. When
---it fails half-way the status is out already: leave with ngx.exit(ngx.ERROR),
---or the client takes what it got for the whole.
---@param res zedcup.http.answer
---@param chunk_size? integer bytes of the body at a time, default 65536
---@return true|nil
---@return string|nil err
function _M.proxy_response(_, res, chunk_size)
    chunk_size = chunk_size or CHUNK_SIZE
    if not is_size(chunk_size) then
        return nil, "bad chunk size"
    end
    if not is_answer(res) then
        return nil, "bad answer: what request() returned expected"
    end
    if ngx.headers_sent then
        return nil, "the headers of this request have been sent"
    end
    ngx.status = res.status
    each_end_to_end(res.headers, function(name, value)
        ngx.header[name] = value
    end)
    local read = res.body_reader
    while true do
        local piece, err = read(chunk_size)
        if not piece then
            return not err or nil, err
        end
        local ok
        ok, err = ngx.print(piece)
        if ok then
            ok, err = ngx.flush(true)
        end
        if not ok then
            return nil, err
        end
    end
end


return _M
