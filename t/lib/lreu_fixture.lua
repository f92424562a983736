--- Shorthands for tests of lreu; LreuTest.pm sets them up.

local cjson = require("cjson.safe").new()

local _M = {}

local version = 0


--- Writes a service by hand, as someone without the syncer would.
---@param name string
---@param peers table[]|string tables, or the text itself
function _M.write(name, peers)
    local dict = ngx.shared.lreu
    version = version + 1
    assert(dict:set(name .. "|peers", type(peers) == "string" and peers or cjson.encode(peers)))
    assert(dict:set(name .. "|version", version))
    dict:set("ready", true)
    local all = dict:get("_allname") or ""
    if not ("|" .. all .. "|"):find("|" .. name .. "|", 1, true) then
        dict:set("_allname", all == "" and name or all .. "|" .. name)
    end
    _M.tick()
end


--- Peers 10.0.0.1:80, 10.0.0.2:80, …, with these weights.
function _M.weights(...)
    local peers = {}
    for i = 1, select("#", ...) do
        peers[i] = { host = "10.0.0." .. i, port = 80, weight = (select(i, ...)) }
    end
    return peers
end


--- nginx's clock moves on by a millisecond at least: pickers look again.
function _M.tick()
    local before = ngx.now()
    repeat
        ngx.sleep(0.001)
        ngx.update_time()
    until ngx.now() > before
end


--- What n picks gave, in turn: the last number of each address.
function _M.sequence(n, pick)
    local seen = {}
    for i = 1, n do
        local peer, err = pick(i)
        seen[i] = peer and (peer.host:match("(%d+)%]?$") or peer.host) or "(" .. err .. ")"
    end
    return table.concat(seen, " ")
end


--- The same, counted: table, and text "1=30 2=10".
function _M.tally(n, pick)
    local counts, names = {}, {}
    for i = 1, n do
        local peer, err = pick(i)
        local name = peer and (peer.host:match("(%d+)%]?$") or peer.host) or "(" .. err .. ")"
        if not counts[name] then
            counts[name] = 0
            names[#names + 1] = name
        end
        counts[name] = counts[name] + 1
    end
    table.sort(names)
    local text = {}
    for i, name in ipairs(names) do
        text[i] = name .. "=" .. counts[name]
    end
    return counts, table.concat(text, " ")
end


--- The longest run of one word.
function _M.longest_run(text)
    local longest, run, last = 0, 0, nil
    for word in text:gmatch("%S+") do
        run = word == last and run + 1 or 1
        last = word
        longest = math.max(longest, run)
    end
    return longest
end


-- The body, or nil and the status or what went wrong.
local function request(path, status, port)
    local c = require("zedcup.http").new()
    c:set_timeouts(2000, 5000, 5000)
    local res, err = c:request_uri("http://127.0.0.1:" .. (port or ngx.var.server_port) .. path)
    if not res then
        return nil, err
    end
    return res.status == (status or 200) and res.body or nil, res.status
end


--- A request to this nginx: its body. Raises where the status is another, 200 if
--- none is given.
function _M.get(path, status)
    local body, seen = request(path, status)
    return body or error(path .. ": " .. tostring(seen), 2)
end


--- Waits until the logger has seen so many tries of a service; its report.
function _M.report(service, count)
    local logger, last = require("lreu.logger"), 0
    for _ = 1, 500 do
        local report = assert(logger.report(service))
        last = 0
        for _, one in ipairs(report.statistics) do
            last = last + one.count
        end
        if last == count then
            return report
        end
        ngx.sleep(0.01)
    end
    error(service .. ": " .. last .. " tries, not " .. count, 2)
end


--- So many light threads that ask for so long; how often each body came. Failures are
--- counted as "failed".
---@param threads number
---@param seconds number
---@param path string
function _M.load(threads, seconds, path)
    local seen, list, deadline = {}, {}, ngx.now() + seconds
    for i = 1, threads do
        list[i] = ngx.thread.spawn(function()
            repeat
                local body = request(path) or "failed"
                seen[body] = (seen[body] or 0) + 1
            until ngx.now() >= deadline
        end)
    end
    for i = 1, threads do
        assert(ngx.thread.wait(list[i]))
    end
    return seen
end


--- Requests in the background, until the function that is returned is called. Their
--- connections are short, so that all workers take part.
---@param threads number
---@param path string
---@return function stop gives how often each body came, "failed" among them
function _M.background(threads, path)
    local url = "http://127.0.0.1:" .. ngx.var.server_port .. path
    local seen, stopped, running = {}, false, threads
    local function work()
        while not stopped do
            local c = require("zedcup.http").new()
            c:set_timeouts(2000, 5000, 5000)
            local res = c:request_uri(url, { keepalive = false })
            local body = res and res.status == 200 and res.body or "failed"
            seen[body] = (seen[body] or 0) + 1
            ngx.sleep(0)
        end
        running = running - 1
    end
    for _ = 1, threads do
        assert(ngx.timer.at(0, work))
    end
    return function()
        stopped = true
        while running > 0 do
            ngx.sleep(0.01)
        end
        return seen
    end
end


--- One line about a service, as picker.show() has it.
function _M.summary(service)
    local json, err = require("lreu.picker").show(service)
    if not json then
        return err
    end
    local words = {}
    for i, peer in ipairs(cjson.decode(json)) do
        words[i] = peer.name .. "/" .. peer.weight .. (peer.status == "down" and "/down" or "")
                   .. (peer.checkdown and "/checkdown" or "")
                   .. (peer.cutdown ~= 0 and "/cut=" .. peer.cutdown or "")
    end
    return table.concat(words, " ")
end


return _M
