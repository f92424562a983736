--- Sends the body of a request, by its plan.
--
-- An iterator is the caller's: what it does wrong is told apart from what the
-- network does (the second of the three results says which), and a body that
-- cannot be finished leaves the connection broken, never a wrong length.

local format = string.format
local pcall = pcall
local tostring = tostring
local type = type

local _M = {}


-- The pieces of a body, in one chunk where it goes in chunks.
local function add_pieces(out, n, body, length, chunked)
    if chunked and length > 0 then
        n = n + 1
        out[n] = format("%x\r\n", length)
    end
    if type(body) == "table" then
        for i = 1, #body do
            out[n + i] = body[i]
        end
        n = n + #body
    elseif body ~= nil then
        n = n + 1
        out[n] = body
    end
    if chunked then
        out[n + 1] = length > 0 and "\r\n0\r\n\r\n" or "0\r\n\r\n"
    end
    return out
end


-- Sends a body that is at hand, after `head`, in one go.
local function send_whole(sock, plan, head)
    local pieces = add_pieces({ head }, 1, plan.body, plan.length or 0,
                              plan.chunked)
    local _, err = sock:send(pieces)
    if err then
        return nil, "send", err
    end
    return true
end


-- Returns the next piece, "" included; nil at the end; nil, err on failure.
local function call(iterator)
    local ok, piece, err = pcall(iterator)
    if not ok then
        return nil, "body iterator: " .. tostring(piece)
    end
    if piece == nil then
        return nil, err and "body iterator: " .. tostring(err)
    end
    if type(piece) == "number" then
        piece = tostring(piece)
    end
    if type(piece) ~= "string" then
        return nil, "body iterator: returned a " .. type(piece)
    end
    return piece
end


local function send_in_chunks(sock, plan)
    while true do
        local piece, err = call(plan.body)
        if err then
            return nil, "body", err
        end
        local _
        if not piece then
            _, err = sock:send("0\r\n\r\n")
        elseif piece ~= "" then
            _, err = sock:send({ format("%x\r\n", #piece), piece, "\r\n" })
        end
        if err then
            return nil, "send", err
        end
        if not piece then
            return true
        end
    end
end


local function send_counted(sock, plan)
    local left = plan.length
    while true do
        local piece, err = call(plan.body)
        if err then
            return nil, "body", err
        end
        if not piece then
            break
        end
        left = left - #piece
        if left < 0 then
            return nil, "body", "body iterator: more than Content-Length"
        end
        if piece ~= "" then
            local _
            _, err = sock:send(piece)
            if err then
                return nil, "send", err
            end
        end
    end
    if left > 0 then
        return nil, "body", "body iterator: less than Content-Length"
    end
    return true
end


---Sends a body. Yields.
---@param sock tcpsock
---@param plan zedcup.http.plan
---@param head? string goes out first, with the body where it is at hand
---@return boolean|nil ok
---@return "send"|"body"|nil who failed: the connection, or the iterator
---@return string|nil err
function _M.body(sock, plan, head)
    if type(plan.body) ~= "function" then
        return send_whole(sock, plan, head or "")
    end
    if head then
        local _, err = sock:send(head)
        if err then
            return nil, "send", err
        end
    end
    if plan.chunked then
        return send_in_chunks(sock, plan)
    end
    return send_counted(sock, plan)
end


return _M
