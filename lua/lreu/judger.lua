-- lreu.judger: compares the peers of a service with each other, by what the logger
-- saw in the last seconds, and takes weight from those that do worse, step by
-- step, and gives it back step by step. All peers failing alike is nobody's fault:
-- then none is cut.
--
-- One worker judges; all workers pick by it (lreu/storage.lua: judged:…).

local logger = require "lreu.logger"
local storage = require "lreu.storage"

local cjson = require("cjson.safe").new()

local ngx = ngx
local ipairs = ipairs
local pairs = pairs
local tostring = tostring
local type = type
local ceil = math.ceil
local floor = math.floor
local format = string.format
local max = math.max
local min = math.min
local sort = table.sort
local sqrt = math.sqrt

-- Percent of its weight that a peer loses, step by step; the last step takes it
-- out and is for those that answer nothing at all.
local STEPS = { 30, 60, 90, 100 }
local LAST_CUT = 3
local EJECTED = 4
-- Judgements that one step down lasts where there is too little to judge by: a
-- peer that gets no requests cannot show that it is well again.
local PROBATION = 4
-- A cut ends by itself when nobody renews it for so long, in seconds.
local CUT_TTL = 30
-- Two-sided, 1 %: so far apart are two shares hardly ever by chance.
local SIGNIFICANT = 2.58

local LIMITS = {
    -- default, least, most
    interval = { 1, 0.1, 60 },
    window = { 3, 1, 600 },
    min_requests = { 10, 1, 1000000 },
    consecutive_failures = { 5, 1, 1000000 },
    error_margin = { 0.1, 0, 1 },
    latency_factor = { 3, 1, 1000 },
    latency_margin = { 0.01, 0, 3600 },
    max_ejection_percent = { 10, 0, 100 },
}

local _M = {}

local dict, settings
local since = {}        -- of this worker: "service\npeer" -> judgements at this step


-- ---- what was seen ------------------------------------------------------------------

local function measure(report)
    local all = {}
    for _, one in ipairs(report.statistics) do
        local errors = 0
        for _, stat in ipairs(one.stat) do
            if stat.code == 0 or stat.code >= 500 then
                errors = errors + stat.count
            end
        end
        all[one.peer] = {
            count = one.count,
            errors = errors,
            error_rate = one.count > 0 and errors / one.count or 0,
            latency = one.count > 0 and one.rtsum / one.count or 0,
        }
    end
    return all
end


local function median(values)
    sort(values)
    local n = #values
    if n == 0 then
        return nil
    end
    return (values[ceil(n / 2)] + values[floor(n / 2) + 1]) / 2
end


-- What is usual: the medians of the others that there is enough to say of.
local function usual(seen, names, but)
    local rates, latencies = {}, {}
    for _, name in ipairs(names) do
        local one = seen[name]
        if name ~= but and one and one.count >= settings.min_requests then
            rates[#rates + 1] = one.error_rate
            latencies[#latencies + 1] = one.latency
        end
    end
    return median(rates), median(latencies)
end


local function is_significant(mine, rate)
    local share = max(rate, 1 / mine.count)
    local deviation = sqrt(share * (1 - share) / mine.count)
    return deviation == 0 or (mine.error_rate - rate) / deviation > SIGNIFICANT
end


-- "out", "bad", "good" or nil (too little is known), and why.
local function judge(mine, rate, latency)
    if not mine or mine.count == 0 then
        return nil, "no requests"
    end
    if not rate then
        return nil, "nobody to compare with"
    end
    if mine.errors == mine.count and rate < 0.5
       and mine.count >= settings.consecutive_failures then
        return "out", format("all of %d tries failed", mine.count)
    end
    if mine.count < settings.min_requests then
        return nil, format("only %d tries", mine.count)
    end
    if mine.error_rate - rate > settings.error_margin and is_significant(mine, rate) then
        return "bad", format("%.0f %% of %d tries failed, %.0f %% is usual",
                             mine.error_rate * 100, mine.count, rate * 100)
    end
    if mine.latency > latency * settings.latency_factor
       and mine.latency - latency > settings.latency_margin then
        return "bad", format("answers take %.0f ms, %.0f ms is usual", mine.latency * 1000,
                             latency * 1000)
    end
    return "good", format("%.0f %% of %d tries failed, answers take %.0f ms",
                          mine.error_rate * 100, mine.count, mine.latency * 1000)
end


-- ---- what comes of it ---------------------------------------------------------------

local function step_of(percent)
    for step = #STEPS, 1, -1 do
        if percent >= STEPS[step] then
            return step
        end
    end
    return 0
end


local function next_step(step, verdict, waited, may_eject)
    if verdict == "out" then
        return may_eject and EJECTED or LAST_CUT
    end
    if verdict == "bad" then
        return step >= LAST_CUT and LAST_CUT or step + 1
    end
    if step > 0 and (verdict == "good" or waited >= PROBATION) then
        return step - 1
    end
    return step
end


-- How many peers may be out at a time: one always may, but never all.
local function most_out(count)
    return min(max(1, floor(count * settings.max_ejection_percent / 100)), count - 1)
end


-- The peers that are up, and the steps they are at; how many are out.
local function present(service, peers)
    local names, steps, out = {}, {}, 0
    for _, peer in ipairs(peers) do
        if peer.status ~= "down" then
            local name = storage.peer_name(peer)
            names[#names + 1] = name
            steps[name] = step_of(dict:get(storage.judged_key(service, name)) or 0)
            out = out + (steps[name] == EJECTED and 1 or 0)
        end
    end
    return names, steps, out
end


-- Writes what a peer loses now; true: that is not what it lost before.
local function apply(service, name, step, before, why)
    local key, cut = storage.judged_key(service, name), STEPS[step] or 0
    if step > 0 then
        storage.set(dict, key, cut, CUT_TTL)
    elseif before > 0 then
        dict:delete(key)
    end
    if step == before then
        return false
    end
    ngx.log(ngx.WARN, "lreu: judger: ", service, ": ", name, " loses ", cut,
            " % of its weight (before: ", STEPS[before] or 0, " %): ", why)
    return true
end


local function explained(name, verdict, why, step, seen)
    return {
        peer = name, verdict = verdict or "unknown", reason = why, cut = STEPS[step] or 0,
        count = seen and seen.count or 0, error_rate = seen and seen.error_rate,
        latency = seen and seen.latency,
    }
end


local function judge_service(service)
    local peers = storage.peers(dict, service)
    local report = peers and logger.report(service, nil, settings.window)
    if not report then
        return
    end
    local seen = measure(report)
    local names, steps, out = present(service, peers)
    local limit = most_out(#names)
    local all, changed = {}, false
    for i, name in ipairs(names) do
        local verdict, why = judge(seen[name], usual(seen, names, name))
        local before, key = steps[name], service .. "\n" .. name
        local others_out = out - (before == EJECTED and 1 or 0)
        local step = next_step(before, verdict, since[key] or 0, others_out < limit)
        since[key] = step > 0 and (step == before and (since[key] or 0) + 1 or 0) or nil
        out = others_out + (step == EJECTED and 1 or 0)
        changed = apply(service, name, step, before, why) or changed
        all[i] = explained(name, verdict, why, step, seen[name])
    end
    if changed then
        storage.touch(dict, service)
    end
    storage.set(dict, "judger:" .. service, cjson.encode({
        service = service, time = ngx.time(), window = settings.window, out = out,
        max_out = limit, peers = all }), CUT_TTL)
end


local function judge_all(premature)
    if premature then
        return
    end
    for _, service in ipairs(storage.names(dict)) do
        judge_service(service)
    end
end


local function read_settings(options)
    local found = {}
    for key, limits in pairs(LIMITS) do
        local err
        found[key], err = storage.number(options, key, limits[1], limits[2], limits[3])
        if err then
            return nil, err
        end
    end
    for key in pairs(options) do
        if key ~= "storage" and not LIMITS[key] then
            return nil, tostring(key) .. ": unknown option"
        end
    end
    return found
end


local function start(options)
    if type(options) ~= "table" then
        return nil, "expected a table of options, got " .. tostring(options)
    end
    local found, err = storage.resolve(options.storage, "storage")
    if not found then
        return nil, err
    end
    if not logger.enable then
        return nil, "call logger.init() first"
    end
    local wanted
    wanted, err = read_settings(options)
    if not wanted then
        return nil, err
    end
    if dict then
        return nil, "the judger runs already"
    end
    dict, settings = found, wanted
    if ngx.worker.id() ~= 0 then
        return true
    end
    return ngx.timer.every(settings.interval, judge_all)
end


--- Begins to judge. Call it in init_worker_by_lua, in every worker, after
--- logger.init(), whose upstream_dict must be the same storage.
---@param options table storage; interval (seconds, 1), window (seconds that count, 3),
---   min_requests (10: with fewer a peer is not judged), consecutive_failures (5:
---   with no other answer they take a peer out), error_margin (0.1: above the
---   share of errors that is usual), latency_factor (3: times what is usual),
---   latency_margin (seconds, 0.01: and so much above it), max_ejection_percent (10)
---@return boolean|nil ok
---@return string|nil err names the option; also in the error log
function _M.init(options)
    local ok, err = start(options)
    if not ok then
        ngx.log(ngx.ERR, "lreu: judger.init: ", err)
        return nil, err
    end
    return true
end


--- The last judgement of a service and the reasons for it; in any worker.
---@param service string
---@return table|nil judgement service, time, window, out, max_out, peers: a list of
---   peer, verdict ("good", "bad", "out", "unknown"), reason, cut (percent), count,
---   error_rate, latency (seconds)
---@return string|nil err
function _M.explain(service)
    if not dict then
        return nil, "call judger.init() first"
    end
    local text = type(service) == "string" and dict:get("judger:" .. service)
    if not text then
        return nil, "nothing was judged yet of service " .. tostring(service)
    end
    return cjson.decode(text)
end


return _M
