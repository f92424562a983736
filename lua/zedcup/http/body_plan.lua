--- Decides how the body of a request is delimited and adds the headers that
--- say so. Pure.
--
-- A body whose length is known goes out with Content-Length, an iterator in
-- chunks unless the caller gives a length. What the caller says in headers has
-- to agree with the body; both lengths and chunks at once are refused.

local format = string.format
local find = string.find
local lower = string.lower
local match = string.match
local tonumber = tonumber
local tostring = tostring
local type = type

local MAX_LENGTH = 2 ^ 53 - 1

-- Methods whose meaning expects a body say so when there is none
-- (RFC 9110, 8.6).
local ANTICIPATES = { POST = true, PUT = true, PATCH = true }

local _M = {}


-- A flat copy of an array of strings and numbers, and its length in bytes.
local function copy_pieces(body)
    local pieces, length = {}, 0
    for i = 1, #body do
        local piece = body[i]
        if type(piece) == "number" then
            piece = tostring(piece)
        end
        if type(piece) ~= "string" then
            return nil, "bad body: element " .. i .. " is a " .. type(piece)
        end
        pieces[i] = piece
        length = length + #piece
    end
    return pieces, length
end


-- Returns ok or nil, err; sets `body` and `length` of the plan.
local function take_body(plan, body)
    local kind = type(body)
    if kind == "number" then
        body, kind = tostring(body), "string"
    end
    if kind == "string" then
        plan.body, plan.length = body, #body
    elseif kind == "table" then
        local pieces, length = copy_pieces(body)
        if not pieces then
            return nil, length
        end
        plan.body, plan.length = pieces, length
    elseif kind == "function" then
        plan.body = body
    else
        return nil, "bad body: a " .. kind
    end
    return true
end


local function given_length(given)
    local digits = match(given.content_length, "^[ \t]*(%d+)[ \t]*$")
    local length = digits and tonumber(digits, 10)
    if not length or length > MAX_LENGTH then
        return nil, "bad value of header Content-Length"
    end
    return length
end


-- A caller may ask for chunks; other codings are his, done before the body.
local function plan_coded(plan, given)
    local coding = lower(given.transfer_encoding)
    if not find(coding, "^%s*chunked%s*$")
        and not find(coding, ",%s*chunked%s*$")
    then
        return nil, "bad value of header Transfer-Encoding: not chunked"
    end
    if given.content_length then
        return nil, "headers Content-Length and Transfer-Encoding exclude"
            .. " each other"
    end
    if plan.version < 1.1 then
        return nil, "header Transfer-Encoding needs version 1.1"
    end
    plan.chunked = true
    return "Transfer-Encoding: " .. given.transfer_encoding .. "\r\n"
end


local function plan_with_length(plan, given)
    local length, err = given_length(given)
    if not length then
        return nil, err
    end
    if type(plan.body) ~= "function" and length ~= (plan.length or 0) then
        return nil, "header Content-Length differs from the body's length"
    end
    plan.length = length
    return format("Content-Length: %.0f\r\n", length)
end


-- The header line that delimits the body; "" for none, or nil and an error.
local function delimit(plan, given)
    if given.transfer_encoding then
        return plan_coded(plan, given)
    elseif given.content_length then
        return plan_with_length(plan, given)
    elseif plan.length then
        return format("Content-Length: %.0f\r\n", plan.length)
    elseif plan.body then
        if plan.version < 1.1 then
            return nil, "bad body: an iterator needs header Content-Length"
                .. " with version 1.0"
        end
        plan.chunked = true
        return "Transfer-Encoding: chunked\r\n"
    end
    return ANTICIPATES[plan.method] and "Content-Length: 0\r\n" or ""
end


-- 100-continue makes sense only with a body that may wait (RFC 9110, 10.1.1).
local function expectation(plan, given)
    local value = given.expect
    if not value then
        return ""
    end
    if lower(value) == "100-continue" then
        if plan.body == nil or plan.length == 0 or plan.version < 1.1 then
            return ""
        end
        plan.expect = true
    end
    return "Expect: " .. value .. "\r\n"
end


---Adds the body to the plan and its headers to the head.
---@param plan zedcup.http.plan
---@param body nil|string|number|table|function
---@param given table   what the caller's headers say
---@param out string[]  the head so far
---@param n integer     its pieces
---@return integer|nil n
---@return string|nil err
function _M.add(plan, body, given, out, n)
    if body == nil and not given.content_length and not given.transfer_encoding
        and not given.expect and not ANTICIPATES[plan.method]
    then
        return n
    end
    if body ~= nil then
        local ok, err = take_body(plan, body)
        if not ok then
            return nil, err
        end
    end
    local line, err = delimit(plan, given)
    if not line then
        return nil, err
    end
    out[n + 1] = line
    out[n + 2] = expectation(plan, given)
    return n + 2
end


return _M
