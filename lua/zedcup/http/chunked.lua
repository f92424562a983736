--- The chunked coding of a body that is read (RFC 9112, 7.1).
--
-- A chunk's size line is read into the buffer whole; the data of a chunk that
-- has not arrived yet is read past it. `body.left` counts what is left of the
-- current chunk; the line ending after it is read with the next one, so that
-- data never waits for it.

local buffer = require("zedcup.http.buffer")
local response = require("zedcup.http.response")

local byte = string.byte
local concat = table.concat
local fill_lines = buffer.fill_lines
local find = string.find
local find_line = buffer.find_line
local min = math.min
local parse_trailers = response.parse_trailers
local take = buffer.take
local take_some = buffer.take_some

local TAB, LF, CR, SPACE, SEMICOLON = 9, 10, 13, 32, 59
local MAX_SIZE = 2 ^ 53 - 1
-- Room for chunk extensions, which nobody reads.
local MAX_SIZE_LINE = 4096

local _M = {}


local function hex_value(c)
    if c >= 48 and c <= 57 then
        return c - 48
    elseif c >= 97 and c <= 102 then
        return c - 87
    elseif c >= 65 and c <= 70 then
        return c - 55
    end
end


---Parses a chunk's size line.
---@param buf string
---@param pos integer where it starts
---@param eol integer its line feed
---@return integer|nil size
---@return string|nil err
local function parse_size(buf, pos, eol)
    local size, i = 0, pos
    local digit = hex_value(byte(buf, i))
    while digit do
        size = size * 16 + digit
        if size > MAX_SIZE then
            return nil, "chunk size too large"
        end
        i = i + 1
        digit = hex_value(byte(buf, i))
    end

    local digits = i - pos
    local c = byte(buf, i)
    while c == SPACE or c == TAB do
        i = i + 1
        c = byte(buf, i)
    end
    local cr = find(buf, "\r", i, true)
    if digits == 0 or (cr and cr < eol - 1)
        or (c ~= LF and c ~= CR and c ~= SEMICOLON)
    then
        return nil, "bad chunk size"
    end
    return size
end
_M.parse_size = parse_size


-- Reads the trailer section, which an empty line ends, and keeps it unparsed.
local function read_trailers(c, body)
    while true do
        local section, next_pos = parse_trailers(c.buf, c.pos, c.limits)
        if section then
            c.pos = next_pos
            body.trailers = section
            return true
        end
        if next_pos ~= response.INCOMPLETE then
            return nil, next_pos
        end
        local ok, err = fill_lines(c, c.limits.header_bytes)
        if not ok then -- what came may have been no trailers
            local _, why = parse_trailers(c.buf, c.pos, c.limits)
            return nil, why ~= response.INCOMPLETE and why or err
        end
    end
end


-- Takes the line ending after a chunk's data.
local function end_chunk(c)
    local eol, err = find_line(c, 2)
    if not eol then
        return nil, err == "line too long" and "bad end of a chunk" or err
    end
    if eol > c.pos and byte(c.buf, c.pos) ~= CR then
        return nil, "bad end of a chunk"
    end
    c.pos = eol + 1
    return true
end


local function read_size(c)
    local eol, err = find_line(c, MAX_SIZE_LINE)
    if not eol then
        return nil, err == "line too long" and "bad chunk size" or err
    end
    local size
    size, err = parse_size(c.buf, c.pos, eol)
    c.pos = eol + 1
    return size, err
end


-- Ends the chunk before, if any, and starts the next one. Returns its size, 0
-- once the body has ended.
local function next_chunk(c, body)
    if body.in_chunk then
        local ok, err = end_chunk(c)
        if not ok then
            return nil, err
        end
    end
    local size, err = read_size(c)
    if size == 0 then
        local ok
        ok, err = read_trailers(c, body)
        if not ok then
            return nil, err
        end
        body.done = true
    end
    body.left, body.in_chunk = size, true
    return size, err
end


---Reads the next piece of the body.
---@param c zedcup.http.buffered
---@param body table
---@param max? integer without it, a whole chunk
---@return string|nil data nil at the end of the body
---@return string|nil err
---@return string|nil partial
function _M.read(c, body, max)
    if body.left == 0 then
        local size, err = next_chunk(c, body)
        if not size or size == 0 then
            return nil, err
        end
    end

    local data, err, partial
    if max then
        data, err = take_some(c, min(max, body.left))
    else
        data, err, partial = take(c, body.left)
    end
    if not data then
        return nil, err, partial
    end
    body.left = body.left - #data
    return data
end


---Reads all of the body that is left.
---@param c zedcup.http.buffered
---@param body table
---@return string|nil data
---@return string|nil err
---@return string|nil partial
function _M.read_all(c, body)
    local pieces, n = {}, 0
    while true do
        local data, err, partial = _M.read(c, body)
        if not data then
            if err then
                pieces[n + 1] = partial
                return nil, err, concat(pieces)
            end
            return n == 1 and pieces[1] or concat(pieces)
        end
        n = n + 1
        pieces[n] = data
    end
end


return _M
