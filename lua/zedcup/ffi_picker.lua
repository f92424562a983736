-- The module's functions for lreu.picker. nginx/zedcup_ffi.h is the original of
-- the declarations.

local base = require "resty.core.base"
local ffi = require "ffi"
local zffi = require "zedcup.ffi"

local C = ffi.C
local get_request = base.get_request

ffi.cdef[[
typedef struct zedcup_picker_s  zedcup_picker_t;

typedef struct {
    const char  *name;
    size_t       name_len;
    double       start_ms;
    uint32_t     slow_start_ms;
    uint32_t     weight;
} zedcup_ffi_picker_peer_t;

zedcup_picker_t *zedcup_ffi_picker_new(uint32_t offset);
void zedcup_ffi_picker_free(zedcup_picker_t *peers);
int zedcup_ffi_picker_update(zedcup_picker_t *peers, const zedcup_ffi_picker_peer_t *list,
    size_t count, double now_ms);
int zedcup_ffi_picker_next(zedcup_picker_t *peers, double now_ms);
int zedcup_ffi_picker_pick(zedcup_picker_t *peers, int method, const char *key,
    size_t key_len, const uint32_t *tried, size_t tried_count, double now_ms);
int zedcup_ffi_picker_wants_reports(const zedcup_picker_t *peers);
int zedcup_ffi_picker_track(zedcup_picker_t *peers, void *request, uint32_t slot);
unsigned zedcup_ffi_picker_active(const zedcup_picker_t *peers, uint32_t slot);
]]

local _M = {
    RR = 0,
    HASH = 1,
    LEAST_CONN = 2,
    EWMA = 3,
    RANDOM = 4,
}

local MAX_TRIED = 64
local tried_slots = ffi.new("uint32_t[?]", MAX_TRIED)


--- An empty list.
---@param offset number where its round robin begins
---@return cdata|nil peers
---@return string|nil err
function _M.new(offset)
    local ok, err = zffi.available()
    if not ok then
        return nil, err
    end
    local peers = C.zedcup_ffi_picker_new(offset)
    if peers == nil then
        return nil, "no memory"
    end
    return ffi.gc(peers, C.zedcup_ffi_picker_free)
end


--- Takes over another list.
---@param peers cdata
---@param list table[] of name, weight, start (unix time), slow_start (seconds)
---@param now number unix time
---@return boolean ok
function _M.update(peers, list, now)
    local count = #list
    local raw = ffi.new("zedcup_ffi_picker_peer_t[?]", count)
    for i = 1, count do
        local peer, to = list[i], raw[i - 1]
        to.name, to.name_len = peer.name, #peer.name
        to.weight = peer.weight
        to.start_ms = peer.start * 1000
        to.slow_start_ms = peer.slow_start * 1000
    end
    return C.zedcup_ffi_picker_update(peers, raw, count, now * 1000) == 0
end


--- The next slot of a round robin; negative: there is none.
---@param peers cdata
---@param now number unix time
---@return number slot 0-based
function _M.next(peers, now)
    return C.zedcup_ffi_picker_next(peers, now * 1000)
end


--- The next slot by any method.
---@param peers cdata
---@param method number
---@param key string of HASH, else ""
---@param tried number[] slots to leave out; the first 64 count
---@param now number unix time
---@return number slot 0-based; negative: there is none
function _M.pick(peers, method, key, tried, now)
    local count = #tried
    if count > MAX_TRIED then
        count = MAX_TRIED
    end
    for i = 1, count do
        tried_slots[i - 1] = tried[i]
    end
    return C.zedcup_ffi_picker_pick(peers, method, key, #key, tried_slots, count, now * 1000)
end


--- This request goes to that slot, until it picks again or is over. Nothing
--- where no method in use counts, or there is no request.
---@param peers cdata
---@param slot number
function _M.track(peers, slot)
    if C.zedcup_ffi_picker_wants_reports(peers) ~= 0 then
        local request = get_request()
        if request then
            C.zedcup_ffi_picker_track(peers, request, slot)
        end
    end
end


---@param peers cdata
---@param slot number
---@return number requests under way, of those that were tracked
function _M.active(peers, slot)
    return C.zedcup_ffi_picker_active(peers, slot)
end


return _M
