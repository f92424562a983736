--- A cosocket with a buffer: what was read from the network and not used yet.
--
-- receiveany() takes whatever is there, so that the head of an answer and a
-- small body cost one read. What came too early stays in `buf` from `pos` on.
-- The functions work on any table with these three fields; zedcup.http's
-- client is one. Nothing is copied until more than one read has to be joined.

local find = string.find
local min = math.min
local sub = string.sub

-- ngx_lua hands out at most one lua_socket_buffer_size (a page) a read.
local READ_SIZE = 65536

local _M = {}

---@class zedcup.http.buffered
---@field sock tcpsock
---@field buf string
---@field pos integer the first unused byte of `buf`


---Bytes that were read and not used.
---@param c zedcup.http.buffered
---@return integer
function _M.unused(c)
    return #c.buf - c.pos + 1
end


---Reads once and appends to the buffer. Yields.
---@param c zedcup.http.buffered
---@return string|nil data what came
---@return string|nil err
function _M.fill(c)
    local data, err = c.sock:receiveany(READ_SIZE)
    if not data then
        return nil, err
    end
    local buf, pos = c.buf, c.pos
    c.buf = pos > #buf and data or sub(buf, pos) .. data
    c.pos = 1
    return data
end


---Reads until something came that may complete a block of lines: a line feed,
---enough bytes to be too many, or the first few of a block. Looking at a block
---again only then keeps the cost of one that trickles in bounded. Yields.
---@param c zedcup.http.buffered
---@param max integer bytes in the block
---@return boolean|nil ok
---@return string|nil err
function _M.fill_lines(c, max)
    local data, err, size
    repeat
        data, err = _M.fill(c)
        if not data then
            return nil, err
        end
        size = #c.buf
    until size < 16 or size > max or find(data, "\n", 1, true)
    return true
end


---Takes exactly `size` bytes. May yield.
---@param c zedcup.http.buffered
---@param size integer at least 1
---@return string|nil data
---@return string|nil err
---@return string|nil partial what came before the error
function _M.take(c, size)
    local buf, pos = c.buf, c.pos
    local stop = pos + size - 1
    if stop <= #buf then
        c.pos = stop + 1
        return sub(buf, pos, stop)
    end

    local have = sub(buf, pos)
    c.buf, c.pos = "", 1
    local data, err, partial = c.sock:receive(size - #have)
    if not data then
        return nil, err, have .. (partial or "")
    end
    return have == "" and data or have .. data
end


---Takes what is there, or what comes first, up to `max` bytes. May yield.
---@param c zedcup.http.buffered
---@param max integer at least 1
---@return string|nil data not empty
---@return string|nil err
function _M.take_some(c, max)
    local buf, pos = c.buf, c.pos
    if pos > #buf then
        return c.sock:receiveany(max)
    end
    local stop = min(#buf, pos + max - 1)
    c.pos = stop + 1
    return sub(buf, pos, stop)
end


---Takes everything until the other side closes. Yields.
---@param c zedcup.http.buffered
---@return string|nil data
---@return string|nil err
---@return string|nil partial what came before the error
function _M.take_rest(c)
    local have = sub(c.buf, c.pos)
    c.buf, c.pos = "", 1
    local data, err, partial = c.sock:receive("*a")
    if not data then
        return nil, err, have .. (partial or "")
    end
    return have .. data
end


---Finds the end of the line that starts at `pos`, reading on as long as it
---takes. May yield, and may move `buf` and `pos`.
---@param c zedcup.http.buffered
---@param max integer of bytes in the line
---@return integer|nil eol position of the line feed
---@return string|nil err
function _M.find_line(c, max)
    local eol = find(c.buf, "\n", c.pos, true)
    while not eol do
        if #c.buf - c.pos + 1 >= max then
            return nil, "line too long"
        end
        local data, err = _M.fill(c)
        if not data then
            return nil, err
        end
        eol = find(c.buf, "\n", c.pos, true)
    end
    if eol - c.pos >= max then
        return nil, "line too long"
    end
    return eol
end


return _M
