--- A cosocket that is not one: answers from a list of pieces, notes what is
--- sent. It closes after the last piece, or fails with `err`.

local _M = {}
local mt = { __index = _M }


---@param pieces string[] one read each
---@param err? string     what a read after the last piece fails with
function _M.new(pieces, err)
    return setmetatable({ pieces = pieces, next = 1, err = err or "closed",
                          sent = {}, reused = 0, closed = false }, mt)
end


local function flatten(data, out)
    if type(data) ~= "table" then
        out[#out + 1] = tostring(data)
        return
    end
    for i = 1, #data do
        flatten(data[i], out)
    end
end


function _M:send(data)
    if self.send_err then
        return nil, self.send_err
    end
    local out = {}
    flatten(data, out)
    local text = table.concat(out)
    self.sent[#self.sent + 1] = text
    return #text
end


-- The next piece, at most `max` bytes of it.
function _M:receiveany(max)
    local piece = self.pieces[self.next]
    if not piece then
        return nil, self.err
    end
    if #piece > max then
        self.pieces[self.next] = piece:sub(max + 1)
        return piece:sub(1, max)
    end
    self.next = self.next + 1
    return piece
end


function _M:receive(what)
    local got = {}
    local left = what == "*a" and math.huge or what
    while left > 0 do
        local piece, err = self:receiveany(left)
        if not piece then
            local text = table.concat(got)
            if what == "*a" and err == "closed" then
                return text
            end
            return nil, err, text
        end
        got[#got + 1] = piece
        left = left - #piece
    end
    return table.concat(got)
end


-- As a cosocket does when there is something to read.
function _M:setkeepalive()
    if self.pieces[self.next] then
        return nil, "connection in dubious state"
    end
    self.pooled = true
    return 1
end


function _M:close()
    self.closed = true
    return 1
end


function _M:getreusedtimes()
    return self.reused
end


function _M.settimeout() end
function _M.settimeouts() end


return _M
