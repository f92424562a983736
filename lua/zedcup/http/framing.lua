--- What the header lines of an answer say about its body and its connection.
--
-- response.lua hands over the value of each header that matters (`notes`); at
-- the end decide() turns them into one answer: how the body is delimited, and
-- whether the connection may serve another request (RFC 9112, 6.3 and 9.3).
-- The notes live in one table, cleared for each head: parsing never yields.

local gmatch = string.gmatch
local lower = string.lower
local match = string.match
local sub = string.sub
local tonumber = tonumber
local tostring = tostring

-- Beyond this a double no longer counts single bytes.
local MAX_LENGTH = 2 ^ 53 - 1

local _M = {}

-- Absent is false, not nil: a key that comes and goes makes a table grow anew.
local seen = {
    length = false,          -- Content-Length, a number
    coded = false,           -- there is a Transfer-Encoding
    chunked = false,         -- its last coding is `chunked`
    close = false,           -- Connection says so
    keep_alive = false,      -- Connection says so
}


---Forgets what was noted. To be called before the lines of a head.
function _M.reset()
    seen.length = false
    seen.coded, seen.chunked = false, false
    seen.close, seen.keep_alive = false, false
end


-- A list of identical lengths counts as one of them (RFC 9112, 6.3, item 5).
local function length_of_list(value)
    local length
    for item in gmatch(value .. ",", "([^,]*),") do
        local digits = match(item, "^[ \t]*(%d+)[ \t]*$")
        local number = digits and tonumber(digits, 10)
        if not number or (length and number ~= length) then
            return nil
        end
        length = number
    end
    return length
end


-- An integer below 1e14 that prints as it reads is nothing but digits, which
-- spares the common case a loop. The rest is looked at one by one.
local function parse_length(text)
    local length = tonumber(text)
    if length and length >= 0 and length < 1e14 and length % 1 == 0
        and tostring(length) == text and text ~= "-0"
    then
        return length
    end
    return length_of_list(text)
end


local function note_length(buf, from, to)
    local length = parse_length(sub(buf, from, to))
    if not length or length > MAX_LENGTH then
        return "bad content-length"
    end
    if seen.length and seen.length ~= length then
        return "conflicting content-length"
    end
    seen.length = length
end


-- Codings come in the order they were applied; only a final `chunked` frames.
-- `identity` was a coding once and means none.
local function note_coding(buf, from, to)
    for item in gmatch(lower(sub(buf, from, to)), "[^,]+") do
        if seen.chunked then
            return "bad transfer-encoding: chunked is not the last coding"
        end
        local coding = match(item, "^[ \t]*([^ \t]*)")
        seen.chunked = coding == "chunked"
        seen.coded = seen.coded or (coding ~= "" and coding ~= "identity")
    end
end


local function note_connection(buf, from, to)
    local value = lower(sub(buf, from, to))
    if value == "keep-alive" then
        seen.keep_alive = true
        return
    end
    for item in gmatch(value, "[^, \t]+") do
        if item == "close" then
            seen.close = true
        elseif item == "keep-alive" then
            seen.keep_alive = true
        end
    end
end


---What to call with the value of a header: `err = notes[name](buf, from, to)`.
_M.notes = {
    ["content-length"] = note_length,
    ["transfer-encoding"] = note_coding,
    ["connection"] = note_connection,
}


-- The connection is no longer one for HTTP/1 messages after such an answer.
local function is_switch(status, method)
    return status == 101 or (method == "CONNECT" and status < 300
                             and status >= 200)
end


local function may_keep_alive(status, version, request)
    if seen.close or not request.keep_alive
        or is_switch(status, request.method)
    then
        return false
    end
    -- Two ways of framing, or one that the other side's version lacks: some
    -- party in between may have read the message in another way.
    if seen.coded and (seen.length or version < 1.1) then
        return false
    end
    if status == 204 and (seen.coded or (seen.length or 0) > 0) then
        return false
    end
    -- HTTP/1.0 has no keep-alive unless both sides say so.
    return seen.keep_alive or (version >= 1.1 and request.version >= 1.1)
end


---@param status integer
---@param version number
---@param request { method: string, version: number, keep_alive: boolean }
---@return "none"|"length"|"chunked"|"close" framing
---@return integer left       bytes of a body framed by "length"
---@return boolean keep_alive the connection may be reused after the body
function _M.decide(status, version, request)
    local method = request.method
    if method == "HEAD" or status == 204 or status == 304 or status < 200
        or is_switch(status, method)
    then
        return "none", 0, may_keep_alive(status, version, request)
    elseif seen.chunked then
        return "chunked", 0, may_keep_alive(status, version, request)
    elseif seen.length and not seen.coded then
        return "length", seen.length, may_keep_alive(status, version, request)
    end
    return "close", 0, false
end


return _M
