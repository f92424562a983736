-- lreu.health: takes peers out that fail. Active checks ask every peer's check_url,
-- from the one worker of the node that leads (actors/peer_prober.cpp); log checks
-- look at what the logger saw. Both set `checkdown:<service>:<host>:<port>` in
-- the syncer's storage; see lreu/storage.lua.

local logger = require "lreu.logger"
local storage = require "lreu.storage"
local syncer = require "lreu.syncer"

local cjson = require("cjson.safe").new()

local ngx = ngx
local ipairs = ipairs
local pairs = pairs
local tostring = tostring
local type = type

local CHECK_OPTIONS = { "interval", "timeout", "max_fails", "min_rises", "ok_status" }
local LOG_LIMITS = {
    -- default, least, most
    interval = { 5, 1, 3600 },
    recover = { 60, 1, 86400 },
    error_rate = { 0.5, 0, 1 },
    min_requests = { 10, 1, 1000000 },
}
local BY_LOG = storage.BY_LOG

local _M = {}


local function log(level, ...)
    ngx.log(level, "lreu: ", ...)
end


-- ---- active checks ------------------------------------------------------------------

local function start_checks(dict, options)
    local wanted = {}
    for _, key in ipairs(CHECK_OPTIONS) do
        wanted[key] = options[key]
    end
    local json, err = cjson.encode(wanted)
    if not json then
        return nil, err
    end
    return syncer.check(dict, json)
end


-- ---- log checks ---------------------------------------------------------------------

local function error_rate(seen)
    local bad = 0
    for _, one in ipairs(seen.stat) do
        if one.code == 0 or one.code >= 500 then
            bad = bad + one.count
        end
    end
    return bad / seen.count
end


-- The peers that fail too often; none where that would be more than half.
local function failing(report, settings)
    local bad, judged = {}, 0
    for _, seen in ipairs(report.statistics) do
        if seen.count >= settings.min_requests then
            judged = judged + 1
            if error_rate(seen) > settings.error_rate then
                bad[#bad + 1] = seen
            end
        end
    end
    if 2 * #bad > judged then
        return {}
    end
    return bad
end


local function check_log(dict, service, settings)
    local report = logger.report(service, nil, settings.interval)
    for _, seen in ipairs(report and failing(report, settings) or {}) do
        local key = storage.check_key(service, seen.peer)
        -- A peer that somebody else has out stays theirs.
        local value, flags = dict:get(key)
        if not value or flags == BY_LOG then
            log(ngx.WARN, service, ": peer ", seen.peer, " is out for ", settings.recover,
                " s: ", error_rate(seen) * 100, " % of ", seen.count, " tries failed")
            storage.set(dict, key, true, settings.recover, BY_LOG)
            storage.touch(dict, service)
        end
    end
end


local function check_logs(premature, dict, settings)
    if premature then
        return
    end
    for _, service in ipairs(storage.names(dict)) do
        check_log(dict, service, settings)
    end
end


-- Which settings, or nil and which is bad.
local function log_settings(options)
    local settings = {}
    for key, limits in pairs(LOG_LIMITS) do
        local err
        settings[key], err = storage.number(options, key, limits[1], limits[2], limits[3])
        if err then
            return nil, err
        end
    end
    return settings
end


local function start_log_checks(dict, options)
    if not logger.enable then
        return nil, "logcheck: call logger.init() first"
    end
    local settings, err = log_settings(options)
    if not settings then
        return nil, "logcheck." .. err
    end
    if ngx.worker.id() ~= 0 then
        return true         -- one worker is enough
    end
    return ngx.timer.every(settings.interval, check_logs, dict, settings)
end


-- ---- both -----------------------------------------------------------------------------

local function wanted_part(options, key)
    local part = options[key]
    if part ~= nil and type(part) ~= "table" then
        return nil, key .. ": expected a table, got " .. tostring(part)
    end
    return part and part.enable ~= false and part or nil
end


local function start(options)
    if type(options) ~= "table" then
        return nil, "expected a table of options, got " .. tostring(options)
    end
    local dict, err = storage.resolve(options.storage, "storage")
    if not dict then
        return nil, err
    end
    local active, active_err = wanted_part(options, "healthcheck")
    local by_log, log_err = wanted_part(options, "logcheck")
    if active_err or log_err then
        return nil, active_err or log_err
    end
    -- The options of active checks may also stand beside storage.
    if options.healthcheck == nil
       and (not by_log or options.interval or options.max_fails or options.ok_status) then
        active = options
    end
    local ok = true
    if active then
        ok, err = start_checks(dict, active)
    end
    if ok and by_log then
        ok, err = start_log_checks(dict, by_log)
    end
    return ok and true, err
end


--- Begins to check. Call it in init_worker_by_lua, in every worker, after
--- syncer.init() (and logger.init(), for log checks).
---@param options table storage; interval (seconds, 5), timeout (milliseconds, 500),
---   max_fails (3), min_rises (1), ok_status ({200, 201, 204, 301, 302, 401, 403}): of
---   active checks, here or in a table `healthcheck`; logcheck: a table of
---   interval (seconds, 5), recover (seconds, 60), error_rate (0.5), min_requests (10)
---@return boolean|nil ok
---@return string|nil err names the option; also in the error log
function _M.init(options)
    local ok, err = start(options)
    if not ok then
        log(ngx.ERR, "health.init: ", err)
        return nil, err
    end
    return true
end


return _M
