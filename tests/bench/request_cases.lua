-- The request handlers that request.sh compares. Each connects from the
-- keepalive pool, sends the same request, reads the body and prints it.

---@field port integer of the backend, set by the configuration
local _M = { port = 0 }

local REQUEST = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n\r\n"
local HEADERS = { ["User-Agent"] = "bench" }

local find = string.find
local sub = string.sub


local function fail(what, err)
    ngx.log(ngx.ERR, what, ": ", err)
    return ngx.exit(502)
end


-- The least that can read the answer: lines until the blank one, then the body.
function _M.raw_cosocket()
    local sock = ngx.socket.tcp()
    sock:settimeouts(2000, 10000, 10000)
    local ok, err = sock:connect("127.0.0.1", _M.port)
    if not ok then return fail("connect", err) end

    ok, err = sock:send(REQUEST)
    if not ok then return fail("send", err) end

    local length
    while true do
        local line
        line, err = sock:receive("*l")
        if not line then return fail("receive", err) end
        if line == "" then break end
        if sub(line, 1, 16) == "Content-Length: " then
            length = tonumber(sub(line, 17))
        end
    end
    local body
    body, err = sock:receive(length)
    if not body then return fail("receive", err) end

    ngx.print(body)
    sock:setkeepalive(60000, 64)
end


-- The same in one read, which holds only for small answers.
function _M.raw_receiveany()
    local sock = ngx.socket.tcp()
    sock:settimeouts(2000, 10000, 10000)
    local ok, err = sock:connect("127.0.0.1", _M.port)
    if not ok then return fail("connect", err) end

    ok, err = sock:send(REQUEST)
    if not ok then return fail("send", err) end

    local data
    data, err = sock:receiveany(16384)
    if not data then return fail("receive", err) end
    local _, head_end = find(data, "\r\n\r\n", 1, true)

    ngx.print(sub(data, head_end + 1))
    sock:setkeepalive(60000, 64)
end


local function use_client(headers_too)
    local c = require("zedcup.http").new()
    c:set_timeouts(2000, 10000, 10000)
    local ok, err = c:connect("127.0.0.1", _M.port)
    if not ok then return fail("connect", err) end

    local res
    res, err = c:request({ path = "/", headers = HEADERS })
    if not res then return fail("request", err) end
    if headers_too and res.headers["content-type"] ~= "text/plain" then
        return fail("headers", "no content-type")
    end
    local body
    body, err = res:read_body()
    if not body then return fail("read_body", err) end

    ngx.print(body)
    c:set_keepalive(60000, 64)
end


-- The client as most callers use it: status and body.
function _M.zedcup_http()
    return use_client(false)
end


-- The same with a look at the headers, which are built on first use.
function _M.zedcup_all()
    return use_client(true)
end


-- All hosts are the same backend, at `addresses` different addresses.
local function write(name, count, addresses)
    local hosts = {}
    for i = 0, count - 1 do
        local at = i % addresses
        hosts[i + 1] = { host = "127.0." .. math.floor(at / 200) .. "." .. at % 200 + 1,
                         port = _M.port }
    end
    return require("zedcup").configure_instance(name, {
        pools = { { keepalive_pool = 64, hosts = hosts } },
    })
end


function _M.configure()
    for _, case in ipairs({ { "handler_3", 3, 3 }, { "handler_500", 500, 500 },
                            { "handler_500_on_3", 500, 3 } }) do
        local ok, err = write(case[1], case[2], case[3])
        if not ok then
            return ngx.say(err)
        end
    end
    ngx.say("ok")
end


local function use_handler(name)
    local handler, err = require("zedcup").create_handler(name)
    if not handler then return fail("create_handler", err) end
    local res
    res, err = handler:request({ path = "/", headers = HEADERS })
    if not res then return fail("request", err) end
    local body
    body, err = res:read_body()
    if not body then return fail("read_body", err) end

    ngx.print(body)
    handler:set_keepalive()
end


function _M.handler_3()
    return use_handler("handler_3")
end


function _M.handler_500()
    return use_handler("handler_500")
end


function _M.handler_500_on_3()
    return use_handler("handler_500_on_3")
end


-- ---- balancer_by_lua -----------------------------------------------------------

local balancer = require "ngx.balancer"
local picker = require "lreu.picker"


--- What balancer_by_lua costs by itself.
function _M.balancer_none()
    local ok, err = balancer.set_current_peer("127.0.0.1", _M.port)
    if not ok then return fail("set_current_peer", err) end
end


function _M.balancer_rr()
    local peer, err = picker.rr("bench")
    if not peer then return fail("rr", err) end

    local ok
    ok, err = balancer.set_current_peer(peer.host, peer.port)
    if not ok then return fail("set_current_peer", err) end
end


--- Three peers, as the syncer would write them.
function _M.put_peers(dict)
    local peers = {}
    for i = 1, 3 do
        peers[i] = { host = "127.0.0." .. i, port = _M.port, weight = 1, status = "up",
                     slow_start = 0, start_at = 0 }
    end
    dict:set("bench|peers", require("cjson").encode(peers))
    dict:set("bench|version", 1)
    dict:set("_allname", "bench")
    dict:set("ready", true)
    assert(picker.init(dict))
end


return _M
