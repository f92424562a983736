-- The module's functions for lreu.logger. nginx/zedcup_ffi.h is the original of
-- the declarations.

local base = require "resty.core.base"
local ffi = require "ffi"

local C = ffi.C
local ffi_str = ffi.string
local get_request = base.get_request

ffi.cdef[[
int zedcup_ffi_traffic_count(void *request);
int zedcup_ffi_traffic_take(const char **json, size_t *len);
uint32_t zedcup_ffi_traffic_bucket(uint32_t bucket);
]]

local _M = {}

local text_ptr = ffi.new("const char *[1]")
local text_len = ffi.new("size_t[1]")


--- Counts the tries of the current request.
---@return number tries 0: it went to no upstream, or there is no request
function _M.count()
    local request = get_request()
    if not request then
        return 0
    end
    return C.zedcup_ffi_traffic_count(request)
end


--- What this worker counted since the last call.
---@return string|nil json
function _M.take()
    if C.zedcup_ffi_traffic_take(text_ptr, text_len) == 0 then
        return nil
    end
    return ffi_str(text_ptr[0], text_len[0])
end


--- The longest duration of a bucket of `times`.
---@param bucket number
---@return number ms
function _M.bucket_ms(bucket)
    return C.zedcup_ffi_traffic_bucket(bucket)
end


return _M
