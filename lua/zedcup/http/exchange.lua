--- One request and its answer over a connected cosocket.
--
-- Works on a client (zedcup.http): `sock`, the buffer fields, `authority`,
-- `limits`, and the state of the exchange, which set_keepalive() and the
-- caller's decision on a retry rest on:
--   answer     of the last request, false before the first one
--   ending     the connection must not be reused, whatever the answer says
--   progress   of the last request: 0 not sent, 1 bytes of it may have left
--              this machine, 2 a byte of its answer has come
--   consumed   its body iterator has been called

local answer = require("zedcup.http.answer")
local buffer = require("zedcup.http.buffer")
local request = require("zedcup.http.request")
local response = require("zedcup.http.response")
local send = require("zedcup.http.send")

local INCOMPLETE = response.INCOMPLETE
local build = request.build
local fill = buffer.fill
local fill_lines = buffer.fill_lines
local new_answer = answer.new
local parse = response.parse
local type = type

-- A server may send several 1xx answers first (RFC 9110, 15.2); not forever.
local MAX_INTERIM = 32

local LOST = {
    ["closed"] = true,
    ["broken pipe"] = true,
    ["connection reset by peer"] = true,
}

local _M = {}


-- What to say of a head that did not come whole: what came may have been none,
-- and is judged the same in however many pieces it came.
local function cut_short(c, plan, err)
    local _, why = parse(c.buf, c.pos, plan, c.limits)
    if why ~= INCOMPLETE then
        return why
    end
    return err == "closed" and "closed inside the header" or err
end


-- Reads until the buffer holds a whole head. Returns it, final or interim.
local function read_one_head(c, plan)
    local limits = c.limits
    if c.pos > #c.buf then
        local data, err = fill(c)
        if not data then
            return nil, err
        end
        c.progress = 2
    end
    local head, next_pos = parse(c.buf, c.pos, plan, limits)
    while not head and next_pos == INCOMPLETE do
        local ok, err = fill_lines(c, limits.header_bytes)
        if not ok then
            return nil, cut_short(c, plan, err)
        end
        head, next_pos = parse(c.buf, c.pos, plan, limits)
    end
    if not head then
        return nil, next_pos
    end
    c.pos = next_pos
    return head
end


-- Reads up to the final head, or to a 100 where the body waits for it.
local function read_head(c, plan, waits)
    for _ = 1, MAX_INTERIM do
        local head, err = read_one_head(c, plan)
        if not head then
            return nil, err
        end
        local status = head.status
        if status >= 200 or status == 101 or (waits and status == 100) then
            return head
        end
    end
    return nil, "too many interim answers"
end


local function is_reused(c)
    return (c.sock:getreusedtimes() or 0) > 0
end


-- At which stage reading the head failed.
local function stage_of(c, err)
    if c.progress < 2 and LOST[err] and is_reused(c) then
        return "stale"
    end
    return "answer"
end


-- The connection is of no more use; says at which stage it failed.
local function fail(c, err, stage)
    c.ending = true
    return nil, err, stage
end


local function finish(c, head)
    local res = new_answer(head, c)
    c.answer = res
    return res
end


-- Sending failed. A server that has seen enough answers and closes while the
-- body is still on its way: its answer says more than our broken pipe.
local function early_answer(c, plan, err)
    c.ending = true
    if not LOST[err] then
        return nil, err, "send"
    end
    local reused = is_reused(c) -- unknown once reading has failed too
    local head = read_head(c, plan)
    if head then
        return finish(c, head)
    end
    if c.progress == 2 then
        return nil, err, "answer"
    end
    return nil, err, reused and "stale" or "send"
end


local function send_body(c, plan, head)
    if type(plan.body) == "function" then
        c.consumed = true
    end
    local ok, who, err = send.body(c.sock, plan, head)
    if ok then
        return true
    end
    if who == "body" then
        return fail(c, err, "body")
    end
    return early_answer(c, plan, err)
end


-- Sends the head alone and the body after a 100, or when the server is silent
-- for as long as the read time-out: it need not answer an expectation.
-- Returns the final answer if one came instead, else true.
local function send_expecting(c, plan)
    local _, err = c.sock:send(plan.head)
    if err then
        return early_answer(c, plan, err)
    end
    local head
    head, err = read_head(c, plan, true)
    if not head and (err ~= "timeout" or c.progress == 2) then
        return fail(c, err, stage_of(c, err))
    end
    if head and head.status ~= 100 then
        c.ending = true -- the server may still wait for the body
        return finish(c, head)
    end
    return send_body(c, plan)
end


-- Returns true, or the answer that made sending the rest pointless.
local function send_request(c, plan)
    c.progress = 1
    if plan.expect then
        return send_expecting(c, plan)
    end
    if plan.body or plan.chunked then
        return send_body(c, plan, plan.head)
    end
    local _, err = c.sock:send(plan.head)
    if err then
        return early_answer(c, plan, err)
    end
    return true
end


-- What stands in the way of a request on this connection.
local function obstacle(c)
    if not c.authority then
        return "not connected"
    end
    local last = c.answer
    if c.ending or (last and last.done and not last.keep_alive) then
        return "closed"
    end
    if last and not last.done then
        return "the body of the answer before has not been read"
    end
    if c.pos <= #c.buf then
        c.ending = true
        return "unexpected bytes after the answer before"
    end
end


---Sends a request and reads the head of its answer. Yields.
---@param c table a client
---@param params table
---@return zedcup.http.answer|nil
---@return string|nil err
---@return "request"|"body"|"stale"|"send"|"answer"|nil stage see zedcup.http
function _M.run(c, params)
    c.progress = 0
    if c.consumed then
        c.consumed = false
    end
    if type(params) ~= "table" then
        return nil, "bad params: a table expected", "request"
    end
    local err = obstacle(c)
    if err then
        return nil, err, "request"
    end
    local plan
    plan, err = build(params, c.authority, c.user_agent)
    if not plan then
        return nil, err, "request"
    end

    local res, stage
    res, err, stage = send_request(c, plan)
    if res ~= true then
        return res, err, stage
    end
    local head
    head, err = read_head(c, plan)
    if not head then
        return fail(c, err, stage_of(c, err))
    end
    return finish(c, head)
end


return _M
