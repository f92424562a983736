--- Shorthands for tests of zedcup.http over a fake cosocket.

local fake_sock = require("fake_sock")
local http = require("zedcup.http")

local _M = {}


-- One line out of a text with line breaks and other control characters.
function _M.show(text)
    return (tostring(text):gsub("\r\n", "|"):gsub("[%c\128-\255]", function(c)
        return ("\\x%02x"):format(c:byte())
    end))
end


-- A client whose cosocket answers with these pieces.
function _M.client(...)
    local sock = fake_sock.new({ ... })
    return assert(http.wrap(sock, "example.com")), sock
end


-- Prints what a request looks like on the wire, or why it is refused.
function _M.say_request(params)
    local c, sock = _M.client("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    local res, err, stage = c:request(params)
    if not res then
        ngx.say(_M.show(err), " (", stage, ", sent ", #sock.sent, ")")
        return
    end
    ngx.say(_M.show(table.concat(sock.sent)))
end


-- Everything an answer says, on one line: status, sorted headers, body or
-- error, and what set_keepalive() did.
function _M.describe(method, err, ...)
    local sock = fake_sock.new({ ... }, err)
    local c = http.wrap(sock, "example.com")
    local res, fail = c:request({ method = method })
    if not res then
        return "error: " .. fail
    end
    local out = { res.status, " ", res.reason, " {" }
    local names = {}
    for name in pairs(res.headers) do
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local value = res.headers[name]
        out[#out + 1] = name .. "=" .. (type(value) == "table"
            and table.concat(value, "&") or value) .. ";"
    end
    local body, body_err = res:read_body()
    out[#out + 1] = "} " .. (body and ("'" .. body .. "'")
                             or "body error: " .. body_err)
    c:set_keepalive()
    out[#out + 1] = sock.pooled and " pooled" or " closed"
    return table.concat(out)
end


function _M.say(...)
    ngx.say(_M.show(_M.describe("GET", nil, ...)))
end


return _M
