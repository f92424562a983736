-- lreu.logger: what each peer answered, and how fast, over the last seconds of the
-- whole node. Workers count by themselves; each second they put what they
-- counted into the shared dictionary, under these keys:
--
--   log:<second>         how many workers wrote for that second
--   log:<second>:<n>     what the n-th of them counted: JSON, see src/peers/traffic.hpp

local storage = require "lreu.storage"
local traffic = require "zedcup.ffi_traffic"
local zffi = require "zedcup.ffi"

local cjson = require("cjson.safe").new()

local ngx = ngx
local ipairs = ipairs
local pairs = pairs
local tonumber = tonumber
local tostring = tostring
local type = type
local floor = math.floor
local min = math.min
local sort = table.sort
local count_request = traffic.count
local name_of = storage.name_of

local MAX_KEEP_TIME = 600
local DEFAULT_WINDOW = 60
local LONGEST_KEEP = 86400
-- Workers that may have written for one second.
local MOST_WRITERS = 1024
-- Bytes of records that are kept decoded: a judger asks for the same ones for each
-- service.
local MOST_CACHED = 4194304

local _M = {
    enable = false,         -- true once init() was called
    max_keep_time = MAX_KEEP_TIME,
}

local dict, upstreams
local flushing = false
local cache, cached = {}, 0     -- key -> content, and their bytes


local function store(json)
    local now = floor(ngx.time())
    local ttl = _M.max_keep_time + 2
    local key = "log:" .. now
    local n, err = dict:incr(key, 1, 0, ttl)
    local ok = false
    if n then
        local put = dict == upstreams and dict.safe_set or dict.set
        ok, err = put(dict, key .. ":" .. n, json, ttl)
    end
    if not ok then
        ngx.log(ngx.WARN, "lreu: the logger's shared dictionary has no room for ", #json,
                " bytes: ", err)
    end
end


-- A timer that nginx ends early still writes what it has.
local function flush()
    local json = traffic.take()
    if json then
        store(json)
    end
end


--- Where to keep it. Call it in init_worker_by_lua.
---@param log_dict table ngx.shared.<name>: best a dictionary of its own, whose
---   oldest content goes when it is full
---@param max_keep_time number|nil seconds, 600
---@param upstream_dict table|nil the syncer's storage: report() then finds the
---   peers of a service whatever the upstream block is called
---@return boolean|nil ok
---@return string|nil err also in the error log
function _M.init(log_dict, max_keep_time, upstream_dict)
    local ok, err = zffi.available()
    local found, others
    if ok then
        found, err = storage.resolve(log_dict, "dict")
    end
    if found and upstream_dict ~= nil then
        others, err = storage.resolve(upstream_dict, "upstream_dict")
    end
    local keep = tonumber(max_keep_time == nil and MAX_KEEP_TIME or max_keep_time)
    if not err and not (keep and keep >= 1 and keep <= LONGEST_KEEP) then
        err = "max_keep_time: expected 1.." .. LONGEST_KEEP .. " seconds, got "
              .. tostring(max_keep_time)
    end
    if not err and not flushing then
        flushing, err = ngx.timer.every(1, flush)
    end
    if err then
        ngx.log(ngx.ERR, "lreu: logger.init: ", err)
        return nil, err
    end
    dict, upstreams = found, others
    cache, cached = {}, 0
    _M.max_keep_time = keep
    _M.enable = true
    return true
end


--- Counts the request that is being logged, with all its tries. For
--- log_by_lua; nothing before init().
function _M.calc()
    if dict then
        count_request()
    end
end


-- ---- reports ----------------------------------------------------------------------

local function window(seconds)
    local length = tonumber(seconds == nil and DEFAULT_WINDOW or seconds)
    if not length or length ~= length or length < 1 then
        return nil, "seconds: expected 1 or more, got " .. tostring(seconds)
    end
    -- The second that has not ended yet is left out: not all workers wrote it.
    local last = floor(ngx.time()) - 1
    length = min(floor(length), _M.max_keep_time)
    return last - length + 1, last
end


local function is_record(content)
    return type(content) == "table" and type(content.peers) == "table"
           and type(content.requests) == "number"
end


-- What stands at a key; nil: nothing that makes sense.
local function record_at(key)
    local found = cache[key]
    if found then
        return found
    end
    local text = dict:get(key)
    local content = type(text) == "string" and cjson.decode(text)
    if not is_record(content) then
        return nil
    end
    if cached + #text > MOST_CACHED then
        cache, cached = {}, 0
    end
    cache[key], cached = content, cached + #text
    return content
end


-- Calls each(content) for what the workers wrote from `first` to `last`.
local function each_record(first, last, each)
    for second = first, last do
        local key = "log:" .. second
        for n = 1, min(tonumber(dict:get(key) or 0) or 0, MOST_WRITERS) do
            local content = record_at(key .. ":" .. n)
            if content then
                each(content)
            end
        end
    end
end


-- Which of the upstream's peers belong to a service: those of an upstream
-- block of that name, and the service's own, whatever the block is called.
local function belongs(service)
    local names = {}
    for _, peer in ipairs(upstreams and storage.peers(upstreams, service) or {}) do
        names[storage.peer_name(peer)] = true
    end
    return function(seen)
        return seen.upstream == service or names[seen.peer]
    end
end


local function add(sums, counts)
    for key, count in pairs(counts) do
        sums[key] = (sums[key] or 0) + count
    end
end


local function percentile(times, total, share)
    local buckets = {}
    for bucket in pairs(times) do
        buckets[#buckets + 1] = tonumber(bucket)
    end
    sort(buckets)
    local left = total * share
    for _, bucket in ipairs(buckets) do
        left = left - times[tostring(bucket)]
        if left <= 0 then
            return traffic.bucket_ms(bucket) / 1000
        end
    end
    return 0
end


local function summary(peer, sums)
    local stat, total = {}, 0
    for code, count in pairs(sums.codes) do
        stat[#stat + 1] = { code = tonumber(code), count = count }
        total = total + count
    end
    sort(stat, function(a, b) return a.code < b.code end)
    return {
        peer = peer,
        count = total,
        rtsum = sums.ms / 1000,
        stat = stat,
        p50 = percentile(sums.times, total, 0.5),
        p95 = percentile(sums.times, total, 0.95),
        p99 = percentile(sums.times, total, 0.99),
    }
end


--- What the peers of a service answered of late.
---@param service string the service, or the upstream block
---@param peer string|table|nil "host:port": this one alone
---@param seconds number|nil how far back, 60; at most max_keep_time
---@return table|nil report name, ts_start, ts_end (unix times), statistics: a list
---   of peer, count, rtsum (seconds), stat (a list of code, count; code 0:
---   no answer, 499: the client left before),
---   p50, p95, p99 (seconds, a quarter too long at most)
---@return string|nil err
function _M.report(service, peer, seconds)
    if not dict then
        return nil, "call logger.init() first"
    end
    if type(service) ~= "string" then
        return nil, "service: expected a string, got " .. tostring(service)
    end
    local wanted = name_of(peer)
    if peer ~= nil and not wanted then
        return nil, "peer: expected \"host:port\" or a table with host and port, got "
                    .. tostring(peer)
    end
    local first, last = window(seconds)
    if not first then
        return nil, last
    end
    local is_ours = belongs(service)
    local by_peer = {}
    each_record(first, last, function(content)
        for _, seen in ipairs(content.peers) do
            if is_ours(seen) and (not wanted or seen.peer == wanted) then
                local sums = by_peer[seen.peer] or { ms = 0, codes = {}, times = {} }
                by_peer[seen.peer] = sums
                sums.ms = sums.ms + seen.ms
                add(sums.codes, seen.codes)
                add(sums.times, seen.times)
            end
        end
    end)
    local statistics = {}
    for name, sums in pairs(by_peer) do
        statistics[#statistics + 1] = summary(name, sums)
    end
    sort(statistics, function(a, b) return a.peer < b.peer end)
    return { name = service, ts_start = first, ts_end = last + 1, statistics = statistics }
end


--- Requests a second that went to upstreams, on the whole node.
---@param seconds number|nil over how long, 60; at most max_keep_time
---@return number|nil tps
---@return string|nil err
function _M.tps(seconds)
    if not dict then
        return nil, "call logger.init() first"
    end
    local first, last = window(seconds)
    if not first then
        return nil, last
    end
    local total = 0
    each_record(first, last, function(content)
        total = total + content.requests
    end)
    return total / (last - first + 1)
end


return _M
