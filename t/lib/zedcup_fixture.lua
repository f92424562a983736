--- Shorthands for tests of the zedcup module; ZedcupStore.pm sets it up.

local cjson = require("cjson.safe")

local _M = {}

local settings = {}


function _M.setup(given)
    settings = given
end


--- n host tables for the backends b1, b2, …; `with(i)` may give more keys.
function _M.hosts(n, with)
    local list = {}
    for i = 1, n do
        local host = { name = "b" .. i, host = "127.0.0.1", port = settings.ports[i] }
        for key, value in pairs(with and with(i) or {}) do
            host[key] = value
        end
        list[i] = host
    end
    return list
end


--- One pool with these hosts, written as an instance; raises where it fails.
function _M.configure(name, hosts, pool)
    pool = pool or {}
    pool.hosts = hosts
    assert(require("zedcup").configure_instance(name, { pools = { pool } }))
end


--- Waits until cond() returns something true, and returns that.
function _M.wait(seconds, cond)
    local deadline = ngx.now() + seconds
    repeat
        local value = cond()
        if value then
            return value
        end
        ngx.sleep(0.01)
        ngx.update_time()
    until ngx.now() > deadline
    error("not within " .. seconds .. " s", 2)
end


-- The port of a backend differs from run to run.
local function fixed(text)
    for i, port in ipairs(settings.ports) do
        text = text:gsub("%f[%d]" .. port .. "%f[%D]", "PORT" .. i)
    end
    return text
end


--- Prints values in one line, nil as nil, with the ports of the run replaced.
function _M.say(...)
    local words = {}
    for i = 1, select("#", ...) do
        words[i] = tostring((select(i, ...)))
    end
    ngx.say(fixed(table.concat(words, " ")))
end


--- A value as text, with keys in order.
function _M.show(value)
    if type(value) ~= "table" then
        return type(value) == "string" and '"' .. value .. '"' or tostring(value)
    end
    local keys, parts = {}, {}
    for key in pairs(value) do
        keys[#keys + 1] = key
    end
    table.sort(keys, function(a, b)
        if type(a) == type(b) then
            return a < b
        end
        return type(a) == "number"
    end)
    for i, key in ipairs(keys) do
        parts[i] = (type(key) == "number" and "" or key .. "=") .. _M.show(value[key])
    end
    return "{" .. table.concat(parts, ",") .. "}"
end


-- ---- the store ---------------------------------------------------------------

--- A request to Consul: status, body.
function _M.consul(method, path, body)
    local http = require("zedcup.http")
    local c = http.new()
    c:set_timeouts(1000, 5000, 5000)
    local res = assert(c:request_uri(
        "http://127.0.0.1:" .. settings.consul_port .. path,
        { method = method, body = body, keepalive = false }))
    return res.status, res.body
end


local function consul_keys()
    local status, body = _M.consul("GET", "/v1/kv/" .. settings.prefix .. "/?recurse")
    local all = {}
    for _, entry in ipairs(status == 200 and cjson.decode(body) or {}) do
        local value = entry.Value
        all[entry.Key] = type(value) == "string" and ngx.decode_base64(value) or ""
    end
    return all
end


-- A call of etcd's gateway; keys and values in `params` are plain here.
local function etcd(call, params)
    for _, name in ipairs({ "key", "range_end", "value" }) do
        params[name] = params[name] and ngx.encode_base64(params[name])
    end
    local c = require("zedcup.http").new()
    c:set_timeouts(1000, 5000, 5000)
    local res = assert(c:request_uri(
        "http://127.0.0.1:" .. settings.consul_port .. "/v3/kv/" .. call,
        { method = "POST", body = cjson.encode(params), keepalive = false }))
    assert(res.status == 200, res.body)
    return cjson.decode(res.body)
end


-- "a/" .. "a0" is everything that begins with "a/".
local function etcd_keys()
    local answer = etcd("range", { key = settings.prefix .. "/",
                                   range_end = settings.prefix .. "0" })
    local all = {}
    for _, entry in ipairs(answer.kvs or {}) do
        all[ngx.decode_base64(entry.key)] = ngx.decode_base64(entry.value or "")
    end
    return all
end


local function embedded_keys()
    local pipe = io.popen("sqlite3 -separator '\t' '" .. settings.path
                          .. "' 'SELECT key, value FROM kv'")
    local all = {}
    for line in pipe:lines() do
        local key, value = line:match("^([^\t]*)\t(.*)$")
        if key and key:find(settings.prefix .. "/", 1, true) == 1 then
            all[key] = value
        end
    end
    pipe:close()
    return all
end


--- All that the store holds below this block's prefix: key (without the prefix)
--- to value.
-- Those of the node's session (locks/, registry/) only with `sessions`.
function _M.stored(sessions)
    local readers = { consul = consul_keys, etcd = etcd_keys, embedded = embedded_keys }
    local read = readers[settings.store]
    local all = {}
    for key, value in pairs(read()) do
        key = key:sub(#settings.prefix + 2)
        if sessions or not (key:find("^locks/") or key:find("^registry/")) then
            -- in etcd flags stand behind the value, see src/store/etcd_protocol.hpp
            all[key] = (value:gsub("%zflags=%d+$", ""))
        end
    end
    return all
end


local function consul_entry(key)
    local status, body = _M.consul("GET", "/v1/kv/" .. settings.prefix .. "/" .. key)
    if status ~= 200 then
        return nil
    end
    local entry = cjson.decode(body)[1]
    return {
        value = ngx.decode_base64(entry.Value), flags = entry.Flags, index = entry.ModifyIndex,
    }
end


local function embedded_entry(key)
    local query = "SELECT value, flags FROM kv WHERE CAST(key AS TEXT) = '" .. settings.prefix
                  .. "/" .. key .. "'"
    local command = "sqlite3 -separator '\t' '" .. settings.path .. "' \"" .. query .. "\""
    local pipe = io.popen(command)
    local value, flags = (pipe:read("*l") or ""):match("^([^\t]*)\t(.*)$")
    pipe:close()
    return value and { value = value, flags = tonumber(flags) }
end


local function etcd_entry(key)
    local raw = etcd_keys()[settings.prefix .. "/" .. key]
    if not raw then
        return nil
    end
    local value, flags = raw:match("^(.-)%zflags=(%d+)$")
    return { value = value or raw, flags = tonumber(flags) or 0 }
end


--- One key below this block's prefix: { value, flags }, or nil.
function _M.entry(key)
    local readers = { consul = consul_entry, etcd = etcd_entry, embedded = embedded_entry }
    return readers[settings.store](key)
end


--- The same as "value/flags", a time among the flags as "now".
function _M.show_entry(key)
    local entry = _M.entry(key)
    if not entry then
        return nil
    end
    local recent = entry.flags > ngx.time() - 60 and entry.flags <= ngx.time() + 1
    return entry.value .. "/" .. (recent and "now" or entry.flags)
end


--- Waits until a key is stored with this "value/flags".
function _M.wait_entry(key, wanted)
    _M.wait(5, function() return _M.show_entry(key) == wanted end)
end


--- Prints what is stored, a line a key, in order.
function _M.say_stored()
    local lines = {}
    for key, value in pairs(_M.stored()) do
        lines[#lines + 1] = fixed(key .. " = " .. value)
    end
    table.sort(lines)
    for _, line in ipairs(lines) do
        ngx.say(line)
    end
end


--- Keys (as in a URI) below this block's prefix, as with `consul kv put` and `delete`, or
--- `etcdctl put` and `del`. `query` may be "flags=1".
function _M.put(key, value, query)
    if settings.store == "etcd" then
        value = tostring(value) .. (query and "\0" .. query or "")
        key = settings.prefix .. "/" .. ngx.unescape_uri(key)
        return etcd("put", { key = key, value = value })
    end
    local status, body = _M.consul("PUT", "/v1/kv/" .. settings.prefix .. "/" .. key
                                   .. (query and "?" .. query or ""), tostring(value))
    assert(status == 200, body)
end


function _M.delete(key, recurse)
    if settings.store == "etcd" then
        key = settings.prefix .. "/" .. ngx.unescape_uri(key)
        local last = key:byte(-1)
        return etcd("deleterange", {
            key = key,
            range_end = recurse and key:sub(1, -2) .. string.char(last + 1) or nil,
        })
    end
    local status, body = _M.consul("DELETE", "/v1/kv/" .. settings.prefix .. "/" .. key
                                   .. (recurse and "?recurse" or ""))
    assert(status == 200, body)
end


--- The keys of a host, put one by one.
function _M.put_host(path, port)
    _M.put(path .. "/host", "127.0.0.1")
    _M.put(path .. "/port", port)
end


--- Waits until an instance has this many usable hosts; returns its config.
function _M.wait_hosts(name, count)
    local zedcup = require("zedcup")
    return _M.wait(5, function()
        local handler = zedcup.create_handler(name)
        local config = handler and handler:config() or { pools = {} }
        local found = 0
        for _, pool in ipairs(config.pools) do
            found = found + #pool.hosts
        end
        return found == count and config
    end)
end


-- ---- events --------------------------------------------------------------------

local told = {}


--- Binds host_down and host_up, for events().
function _M.note_events()
    for _, event in ipairs({ "host_down", "host_up" }) do
        assert(require("zedcup").bind(event, function(_, data)
            told[#told + 1] = event .. " " .. data.host.name
                              .. (data.healthcheck and " probe" or "")
                              .. (data.err and ": " .. data.err or "")
        end))
    end
end


--- host_down and host_up go into the log, each once for a callback's scope.
function _M.log_events()
    for _, scope in ipairs({ "cluster", "node", "worker" }) do
        for _, event in ipairs({ "host_down", "host_up" }) do
            require("zedcup").bind(event, function(_, data)
                ngx.log(ngx.NOTICE, "told: ", event, " ", scope, " ", data.host._idx)
            end, { scope = scope })
        end
    end
end


--- What was told so far, in this worker.
function _M.events()
    return table.concat(told, " | ")
end


-- ---- requests ----------------------------------------------------------------

--- Forgets which hosts failed, as the next request of nginx would.
function _M.forget()
    ngx.ctx.zedcup_failed = nil
end


--- Which backend answers: its body, or "ERROR: …".
function _M.ask(handler, params)
    local res, err = handler:request(params or { path = "/" })
    if not res then
        return "ERROR: " .. err
    end
    local body = res:read_body()
    handler:set_keepalive()
    return body, res.status, err
end


--- How often each backend answers n requests, as "b1=10 b2=10", and whether one
--- answered twice in a row.
function _M.tally(name, n)
    local zedcup = require("zedcup")
    local counts, order, last, doubled = {}, {}, nil, false
    for _ = 1, n do
        local who = _M.ask(assert(zedcup.create_handler(name)))
        if not counts[who] then
            counts[who] = 0
            order[#order + 1] = who
        end
        counts[who] = counts[who] + 1
        doubled = doubled or who == last
        last = who
    end
    table.sort(order)
    for i, who in ipairs(order) do
        order[i] = who .. "=" .. counts[who]
    end
    return table.concat(order, " "), doubled
end


--- n requests, each as if it came alone; their answers counted as by tally().
function _M.ask_often(name, n, params)
    for _ = 1, n do
        _M.forget()
        _M.ask(require("zedcup").create_handler(name), params)
    end
end


return _M
