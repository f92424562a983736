-- The worker's side of propagation.sh.

local ffi = require "ffi"
local http = require "zedcup.http"
local instances = require "zedcup.instances"
local picker = require "lreu.picker"
local syncer = require "lreu.syncer"
local zedcup = require "zedcup"

ffi.cdef[[
struct zedcup_bench_time { long sec; long nsec; };
int clock_gettime(int clock, struct zedcup_bench_time *out);
]]

---@field store string the engine
---@field server string its URL, where it has one
local _M = { store = "", server = "" }

local CLOCK_MONOTONIC = 1
local PORT = 10000
local time = ffi.new("struct zedcup_bench_time")


local function now_ms()
    ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
    return tonumber(time.sec) * 1000 + tonumber(time.nsec) / 1e6
end


local function current_port()
    if _M.store == "lreu" then
        local peer = picker.rr("bench")
        return peer and peer.port
    end
    local view = instances.get("bench")
    return view and view.pools[1] and view.pools[1].hosts[0].port
end


local function look(premature)
    local last
    while not premature and not ngx.worker.exiting() do
        local port = current_port()
        if port ~= last then
            last = port
            ngx.shared.seen:set(tostring(port) .. "/" .. ngx.worker.id(), now_ms())
        end
        ngx.sleep(0.001)
    end
end


--- In init_worker.
function _M.watch()
    if _M.store == "lreu" then
        local dict = ngx.shared.seen
        assert(syncer.init({ etcd_endpoints = { _M.server }, etcd_path = "/lreu/", storage = dict }))
        assert(picker.init(dict))
    else
        zedcup.run_workers()
    end
    assert(ngx.timer.at(0, look))
end


local KEY = "zedcup/instances/bench/pools/1/hosts/1/port"


local function call(method, path, body)
    local res = assert(http.new():request_uri(
        _M.server .. path, { method = method, body = body, keepalive = false }))
    assert(res.status == 200, res.body)
end


local function put_consul(port)
    call("PUT", "/v1/kv/" .. KEY, tostring(port))
end


local function put_etcd(port)
    call("POST", "/v3/kv/put", '{"key":"' .. ngx.encode_base64(KEY) .. '","value":"'
                               .. ngx.encode_base64(tostring(port)) .. '"}')
end


-- A service with one peer: the one before goes with the same transaction.
local function put_peer(port)
    local function key(of)
        return ngx.encode_base64("/lreu/bench/127.0.0.1:" .. of)
    end
    call("POST", "/v3/kv/txn", '{"success":[{"request_delete_range":{"key":"' .. key(port - 1)
         .. '"}},{"request_put":{"key":"' .. key(port) .. '"}}]}')
end


local function configure(port)
    return assert(zedcup.configure_instance("bench", {
        pools = { { hosts = { { host = "127.0.0.1", port = port } } } },
    }))
end


function _M.ready()
    if _M.store == "lreu" then
        put_peer(PORT)
    else
        configure(PORT)
    end
    ngx.say("ok")
end


-- Waits until all have seen it, in real time: bounded.
local function arrivals(port)
    local started = now_ms()
    local found = {}
    for worker = 0, ngx.worker.count() - 1 do
        local key = port .. "/" .. worker
        repeat
            found[worker] = ngx.shared.seen:get(key)
            if not found[worker] then
                ngx.sleep(0.002)
            end
        until found[worker] or now_ms() - started > 5000
        assert(found[worker], "worker " .. worker .. " did not follow within 5 s")
    end
    return found
end


function _M.run()
    local put = ({ consul = put_consul, etcd = put_etcd, embedded = configure,
                   lreu = put_peer })[_M.store]
    for round = 1, tonumber(ngx.var.arg_rounds) do
        local port = PORT + round
        local before = now_ms()
        put(port)
        for _, at in pairs(arrivals(port)) do
            ngx.say(string.format("%.3f", at - before))
        end
        -- not in step with anybody's timer
        ngx.sleep(0.003 + math.random() * 0.02)
    end
end


return _M
