--- Turns the parameters of a request into the bytes of its head and a plan for
--- its body. Pure: nothing is sent before all of it has been checked.
--
-- A caller's text never ends a line early: a CR, LF or NUL in any part is
-- refused by name, and so is what would let two parties disagree on where the
-- request ends (RFC 9112, 6.3 and 11.2).

local body_plan = require("zedcup.http.body_plan")
local names = require("zedcup.http.names")
local uri = require("zedcup.http.uri")

local byte = string.byte
local concat = table.concat
local encode_query = uri.encode_query
local find = string.find
local folded = names.folded
local gmatch = string.gmatch
local is_token = names.is_token
local lower = string.lower
local next = next
local tostring = tostring
local type = type
local upper = string.upper

local SPACE, DEL = 32, 127

local _M = {}

---@class zedcup.http.plan
---@field head string       the request line and headers, blank line included
---@field method string     in upper case
---@field version number    1.1 or 1.0
---@field keep_alive boolean the request does not end the connection
---@field body? string|string[]|function what is to be sent after the head
---@field chunked? boolean   the body is to be sent in chunks
---@field length? integer    of the body, where it is known
---@field expect? boolean    the body waits for the server's 100 (Continue)

local METHODS = {
    GET = "GET", HEAD = "HEAD", POST = "POST", PUT = "PUT",
    DELETE = "DELETE", OPTIONS = "OPTIONS", PATCH = "PATCH",
}

local VERSIONS = { [1.1] = 1.1, ["1.1"] = 1.1, [1] = 1.0, ["1.0"] = 1.0 }


-- Assembled here, then joined: reused, since building a request never yields.
local out = {}


---Whether a header value keeps to its line.
---@param value string
---@return boolean
local function is_one_line(value)
    return not (find(value, "\n", 1, true) or find(value, "\r", 1, true)
                or find(value, "\0", 1, true))
end


-- Loops on the way of every request are written as tail calls, here and in
-- response.lua: LuaJIT gives up on compiling a function around a loop that it
-- has compiled before, but links to a compiled function.
local function is_target(text, from)
    local c = byte(text, from)
    if not c then
        return from > 1
    end
    if c <= SPACE or c == DEL then
        return false
    end
    return is_target(text, from + 1)
end


local function make_method(method)
    if method == nil then
        return "GET"
    end
    local known = METHODS[method]
    if known then
        return known
    end
    if not is_token(method) then
        return nil, "bad method"
    end
    return upper(method)
end


local function make_target(path, query)
    path = path or "/"
    if type(path) ~= "string" or not is_target(path, 1) then
        return nil, "bad path: a string without spaces or control characters"
            .. " expected"
    end
    if query == nil then
        return path
    end
    local text, err = encode_query(query)
    if not text then
        return nil, err
    end
    if text == "" then
        return path
    end
    if not is_target(text, 1) then
        return nil, "bad query: spaces or control characters in it"
    end
    return path .. (find(path, "?", 1, true) and "&" or "?") .. text
end


-- What the caller's headers say on matters that are decided here; reused, as
-- `out` is. Absent is false, not nil: a key that comes and goes would make the
-- table grow anew each time.
local given = {
    host = false, user_agent = false, expect = false,
    content_length = false, transfer_encoding = false,
    close = false, keep_alive = false,
}


local function forget_given()
    given.host, given.user_agent, given.expect = false, false, false
    given.content_length, given.transfer_encoding = false, false
    given.close, given.keep_alive = false, false
end


local function note_connection(value)
    for token in gmatch(lower(value), "[^, \t]+") do
        if token == "close" then
            given.close = true
        elseif token == "keep-alive" then
            given.keep_alive = true
        end
    end
end


-- Headers that are kept for later, and under which name.
local KEPT = {
    ["content-length"] = "content_length",
    ["expect"] = "expect",
    ["host"] = "host",
    ["transfer-encoding"] = "transfer_encoding",
    ["user-agent"] = "user_agent",
}


local function add_header(n, name, wanted, value)
    local kind = type(value)
    if kind == "number" then
        value = tostring(value)
    elseif kind ~= "string" then
        return nil, "bad value of header " .. name .. ": a " .. kind
    end
    if not is_one_line(value) then
        return nil, "bad value of header " .. name
            .. ": a line break or NUL in it"
    end

    local key = KEPT[wanted]
    if key then
        if given[key] then
            return nil, "repeated header " .. name
        end
        given[key] = value
        return n
    end
    if wanted == "connection" then
        note_connection(value)
    end
    out[n + 1], out[n + 2], out[n + 3], out[n + 4] = name, ": ", value, "\r\n"
    return n + 4
end


local function add_repeated(n, name, wanted, values)
    for i = 1, #values do
        local err
        n, err = add_header(n, name, wanted, values[i])
        if not n then
            return nil, err
        end
    end
    return n
end


-- Adds `name` and what next() gives after it.
local function add_headers(n, headers, name, value)
    if name == nil then
        return n
    end
    local wanted = folded[name]
    if not wanted then
        return nil, "bad header name"
    end
    local add = type(value) == "table" and add_repeated or add_header
    local err
    n, err = add(n, name, wanted, value)
    if not n then
        return nil, err
    end
    return add_headers(n, headers, next(headers, name))
end


-- The request line and the headers that always come, into out[1..8].
local function start_head(method, target, version, authority, user_agent)
    out[1], out[2], out[3] = method, " ", target
    out[4] = version == 1.1 and " HTTP/1.1\r\nHost: " or " HTTP/1.0\r\nHost: "
    out[5] = given.host or authority
    out[6] = "\r\nUser-Agent: "
    out[7] = given.user_agent or user_agent
    out[8] = "\r\n"
end


---Checks a request and writes its head.
---@param params table  method, path, query, headers, body, version
---@param authority string  the Host header unless `params` has one
---@param user_agent string the User-Agent header unless `params` has one
---@return zedcup.http.plan|nil plan
---@return string|nil err  names the argument that is wrong
function _M.build(params, authority, user_agent)
    local method, err = make_method(params.method)
    if not method then
        return nil, err
    end
    local target
    target, err = make_target(params.path, params.query)
    if not target then
        return nil, err
    end
    local version = params.version == nil and 1.1 or VERSIONS[params.version]
    if not version then
        return nil, "bad version: 1.0 or 1.1 expected"
    end

    forget_given()
    local n = 8
    local headers = params.headers
    if headers ~= nil then
        if type(headers) ~= "table" then
            return nil, "bad headers: a table expected"
        end
        n, err = add_headers(n, headers, next(headers))
        if not n then
            return nil, err
        end
    end
    local plan = {
        head = "", method = method, version = version,
        keep_alive = not given.close and (version >= 1.1 or given.keep_alive),
    }
    n, err = body_plan.add(plan, params.body, given, out, n)
    if not n then
        return nil, err
    end

    start_head(method, target, version, authority, user_agent)
    out[n + 1] = "\r\n"
    plan.head = concat(out, "", 1, n + 1)
    return plan
end


return _M
