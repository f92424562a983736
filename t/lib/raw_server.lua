--- A server whose answers are plain text: for a content handler of nginx that
--- has to say what nginx itself never would.

local _M = {}


---Answers requests on the current connection with texts, one after another,
---and closes after the last one. A text may be an array of pieces, which go out
---one by one, or a function of the request's head. "" answers nothing.
---@param answers (string|string[]|function)[]
---@param linger? number seconds to keep the connection open after the last one
function _M.serve(answers, linger)
    local head = ngx.req.raw_header()
    local sock = assert(ngx.req.socket(true))
    sock:settimeout(5000)
    for i, answer in ipairs(answers) do
        if i > 1 then
            local read_head = sock:receiveuntil("\r\n\r\n")
            head = read_head()
            if not head then
                return
            end
        end
        if type(answer) == "function" then
            answer = answer(head, sock)
        end
        for _, piece in ipairs(type(answer) == "table" and answer or { answer }) do
            sock:send(piece)
            ngx.sleep(0.01)
        end
    end
    if linger then
        ngx.sleep(linger)
    end
end


return _M
