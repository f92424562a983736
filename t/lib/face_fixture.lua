--- The handler's face of ZedcupFaces.pm: a request passed on by a handler, the
--- way nginx's proxy passes it on; and requests to either face.

local _M = {}

-- What an nginx request reached, for the header that nginx's own face fills
-- from $upstream_addr.
local function note_tried(handler)
    local tried = {}
    for _, event in ipairs({ "host_connect_error", "host_request_error" }) do
        handler:bind(event, function(data) tried[#tried + 1] = data.host.name end)
    end
    return tried
end


local function send(res, err, tried)
    if not res then
        ngx.status = 502
        ngx.header["X-Tried"] = table.concat(tried, ", ")
        return ngx.print(err)
    end
    if not err then
        tried[#tried + 1] = "served"
    end
    ngx.status = res.status
    ngx.header["X-Tried"] = table.concat(tried, ", ")
    if ngx.req.get_method() == "HEAD" then
        return
    end
    local body, broken = res:read_body()
    if not body then
        ngx.log(ngx.WARN, "broken off: ", broken)
        return ngx.exit(ngx.ERROR)
    end
    ngx.print(body)
end


--- The content of the locations /via/ and so on.
---@param name string an instance
---@param key string|nil
---@param method string|nil in place of the request's
function _M.pass_on(name, key, method)
    ngx.req.read_body()
    ngx.header["X-Pid"] = ngx.worker.pid()
    local handler, err = require("zedcup").create_handler(name, { key = key })
    if not handler then
        return send(nil, err, {})
    end
    local tried = note_tried(handler)
    local res
    res, err = handler:request({
        method = method or ngx.req.get_method(), path = (ngx.var.uri:gsub("^/[^/]+", "")),
        query = ngx.var.args, body = ngx.req.get_body_data(),
    })
    send(res, err, tried)
    if res then
        handler:set_keepalive()
    end
end


local function count_tried(header)
    local count = 0
    for who in (header or ""):gmatch("[^, ]+") do
        -- nginx names the upstream where it found no host
        if who ~= "app" and who ~= ":" then
            count = count + 1
        end
    end
    return count
end


--- A request of its own to a location of the face under test.
---@param path string "/via/…"
---@param params table|nil method, body, headers
---@return string body the answer's, or "failed" where nobody answered
---@return integer status 502 where nobody answered
---@return integer tried how many hosts
function _M.ask(path, params)
    params = params or {}
    local http = require("zedcup.http").new()
    http:set_timeouts(1000, 10000, 10000)
    local res, err = http:request_uri("http://127.0.0.1:" .. ngx.var.server_port .. path, {
        method = params.method, body = params.body, headers = params.headers,
    })
    if not res then
        return "ERROR: " .. err, 0, 0
    end
    local tried = count_tried(res.headers["X-Tried"])
    if (res.status == 502 or res.status == 504)
            and (tried == 0 or not res.body:find("^bad")) then
        return "failed", 502, tried
    end
    return res.body, res.status, tried
end


--- As ask(), again until a host answers: nginx does not wait for a name.
function _M.until_answered(path)
    return require("zedcup_fixture").wait(5, function()
        local who, status = _M.ask(path)
        return status == 200 and who
    end)
end


--- How often each host answers n requests, as "b1=10 b2=10"; whether one
--- answered twice in a row; and how many hosts were tried in vain.
function _M.tally(n, path)
    local counts, order, last, doubled, vain = {}, {}, nil, false, 0
    for _ = 1, n do
        local who, _, tried = _M.ask(path or "/via/")
        if not counts[who] then
            counts[who] = 0
            order[#order + 1] = who
        end
        counts[who] = counts[who] + 1
        doubled = doubled or who == last
        vain = vain + tried - (who == "failed" and 0 or 1)
        last = who
    end
    table.sort(order)
    for i, who in ipairs(order) do
        order[i] = who .. "=" .. counts[who]
    end
    return table.concat(order, " "), doubled, vain
end


--- The fixture with tally() by nginx's own face, for blocks that handlers run too.
function _M.over(fixture)
    return setmetatable({
        tally = function(_, n)
            local text, doubled = _M.tally(n)
            return text, doubled
        end,
    }, { __index = fixture })
end


return _M
