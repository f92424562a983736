--- Reads the body of an answer, in whichever of the three ways it is framed.
--
-- `body` is the answer itself: `framing`, `left`, `done`, and `err` once
-- reading has failed. A failed body stays failed, a finished one finished, and
-- one that is cut short is an error, never a short body.

local buffer = require("zedcup.http.buffer")
local chunked = require("zedcup.http.chunked")

local floor = math.floor
local min = math.min
local take = buffer.take
local take_rest = buffer.take_rest
local take_some = buffer.take_some
local type = type

local _M = {}

local TRUNCATED = "closed before the end of the body"


local function read_length(c, body, max)
    local data, err, partial = take(c, max and min(max, body.left) or body.left)
    if not data then
        return nil, err, partial
    end
    body.left = body.left - #data
    body.done = body.left == 0
    return data
end


local function read_until_close(c, body, max)
    local data, err, partial
    if max then
        data, err = take_some(c, max)
        if err == "closed" then
            body.done = true
            return nil
        end
    else
        data, err, partial = take_rest(c)
        body.done = data ~= nil
        if data == "" then
            return nil
        end
    end
    return data, err, partial
end


local READERS = {
    length = read_length,
    chunked = chunked.read,
    close = read_until_close,
}


local function fail(body, err, partial)
    err = err == "closed" and TRUNCATED or err
    body.err = err
    return nil, err, partial
end


---Reads the next piece of the body. May yield.
---@param body table
---@param max? integer at most so many bytes; without it a whole chunk of a
---chunked body, or all of another one
---@return string|nil data   nil at the end of the body
---@return string|nil err
---@return string|nil partial what came before the error
function _M.read(body, max)
    if body.done or body.err then
        return nil, body.err
    end
    if max and (type(max) ~= "number" or max < 1) then
        return nil, "bad chunk size to read"
    end
    local data, err, partial = READERS[body.framing](body.conn, body,
                                                     max and floor(max))
    if err then
        return fail(body, err, partial)
    end
    return data
end


---Reads all of the body that is left. Yields unless it is in the buffer.
---@param body table
---@return string|nil data   "" where there is none
---@return string|nil err
---@return string|nil partial what came before the error
function _M.read_all(body)
    if body.err then
        return nil, body.err
    end
    if body.done then
        return ""
    end
    local data, err, partial
    if body.framing == "chunked" then
        data, err, partial = chunked.read_all(body.conn, body)
    else
        data, err, partial = READERS[body.framing](body.conn, body)
    end
    if err then
        return fail(body, err, partial)
    end
    return data or ""
end


return _M
