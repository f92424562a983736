-- Which hosts failed during this request, so that neither this handler nor the
-- next one of the same request tries them again. Kept in ngx.ctx.

local ffi = require "ffi"

local ngx = ngx
local pcall = pcall

local _M = {}

-- Reading ngx.ctx makes it; while no request of this worker ever saw a failure
-- there is nothing to read.
local any_recorded = false

local tried_type = ffi.typeof("uint32_t[?]")


local function get_ctx()
    return ngx.ctx
end


--- Remembers that a host failed.
---@param instance string
---@param host table of zedcup.instances
function _M.record(instance, host)
    local ok, ctx = pcall(get_ctx)
    if not ok then
        return              -- a phase without a request
    end
    any_recorded = true
    local all = ctx.zedcup_failed
    if not all then
        all = {}
        ctx.zedcup_failed = all
    end
    local failed = all[instance]
    if not failed then
        failed = {}
        all[instance] = failed
    end
    failed[host.key] = true
end


--- The hosts of an instance that failed during this request.
---@param instance string
---@return table|nil failed host key -> true
function _M.recorded(instance)
    if not any_recorded then
        return nil
    end
    local ok, ctx = pcall(get_ctx)
    local all = ok and ctx.zedcup_failed
    return all and all[instance]
end


--- The hosts of a pool that are not to be tried: a list for zedcup.ffi.pick.
---@param instance string
---@param pool table of zedcup.instances
---@return cdata|nil places
---@return number count
function _M.tried(instance, pool)
    local failed = _M.recorded(instance)
    if not failed then
        return nil, 0
    end
    local places, count = tried_type(pool.host_count), 0
    for place = 0, pool.host_count - 1 do
        if failed[pool.hosts[place].key] then
            places[count] = place
            count = count + 1
        end
    end
    return places, count
end


--- Adds a place to such a list.
---@return cdata places
---@return number count
function _M.add(pool, places, count, place)
    places = places or tried_type(pool.host_count)
    places[count] = place
    return places, count + 1
end


return _M
