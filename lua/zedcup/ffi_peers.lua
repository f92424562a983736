-- The declarations about nginx's own upstream zones, and wrappers that speak
-- Lua; nginx/zedcup_ffi.h is the original.

local ffi = require "ffi"
local zffi = require "zedcup.ffi"

local C = ffi.C
local ffi_new = ffi.new
local ffi_str = ffi.string
local band = require("bit").band
local bor = require("bit").bor
local tonumber = tonumber

local ERROR_SIZE = 1024

ffi.cdef[[
typedef struct {
    const char  *peer;
    size_t       peer_len;
    uint32_t     given;
    uint32_t     flags;
    int64_t      weight;
    int64_t      max_fails;
    int64_t      fail_timeout;
    int64_t      max_conns;
} zedcup_ffi_peer_edit_t;

typedef struct {
    char         name[128];
    char         server[256];
    uint32_t     name_len;
    uint32_t     server_len;
    uint32_t     flags;
    uint32_t     reserved;
    int64_t      weight;
    int64_t      current_weight;
    int64_t      effective_weight;
    int64_t      fails;
    int64_t      max_fails;
    int64_t      fail_timeout;
    int64_t      max_conns;
    int64_t      conns;
    int64_t      accessed;
    int64_t      checked;
} zedcup_ffi_peer_t;

int zedcup_ffi_zone_name(uint32_t i, const char **name, size_t *len);
int zedcup_ffi_zone_peers(const char *zone, size_t len,
    zedcup_ffi_peer_t *out, int max, char *err, size_t *err_len);
typedef struct {
    int64_t      used;
    int64_t      free_pages;
    int64_t      retired;
    int          backups;
} zedcup_ffi_zone_usage_t;

int zedcup_ffi_zone_usage(const char *zone, size_t len,
    zedcup_ffi_zone_usage_t *out, char *err, size_t *err_len);
int zedcup_ffi_peer_add(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edit, char *err, size_t *err_len);
int zedcup_ffi_peer_set(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edit, char *err, size_t *err_len);
int zedcup_ffi_peer_remove(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edit, char *err, size_t *err_len);
int zedcup_ffi_peers_replace(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edits, int n, char *err, size_t *err_len);
]]

local NUMBERS = {
    weight = 1,
    max_fails = 2,
    fail_timeout = 4,
    max_conns = 8,
}
local FLAGS = {
    down = 16,
    drain = 32,
    backup = 64,
}

local _M = { available = zffi.available }

local err_buf = ffi_new("char[?]", ERROR_SIZE)
local err_len = ffi_new("size_t[1]")
local text_ptr = ffi_new("const char *[1]")
local text_len = ffi_new("size_t[1]")
local one = ffi_new("zedcup_ffi_peer_edit_t[1]")
local room, room_count = nil, 0          -- for zedcup_ffi_zone_peers


---@return string[] names of the zones of upstreams
function _M.zones()
    local names = {}
    while C.zedcup_ffi_zone_name(#names, text_ptr, text_len) == 0 do
        names[#names + 1] = ffi_str(text_ptr[0], text_len[0])
    end
    return names
end


local function show(peer)
    local name = ffi_str(peer.name, peer.name_len)
    local server = ffi_str(peer.server, peer.server_len)
    local shown = {
        name = name,
        server = server ~= name and server or nil,
        weight = tonumber(peer.weight),
        current_weight = tonumber(peer.current_weight),
        effective_weight = tonumber(peer.effective_weight),
        fails = tonumber(peer.fails),
        max_fails = tonumber(peer.max_fails),
        fail_timeout = tonumber(peer.fail_timeout),
        conns = tonumber(peer.conns),
    }
    for _, field in ipairs({ "accessed", "checked", "max_conns" }) do
        if peer[field] ~= 0 then
            shown[field] = tonumber(peer[field])
        end
    end
    for field, bit in pairs(FLAGS) do
        if band(peer.flags, bit) ~= 0 then
            shown[field] = true
        end
    end
    return shown
end


---@param zone string
---@return table[]|nil peers
---@return string|nil err
function _M.peers(zone)
    local count = room_count
    repeat
        if count > room_count then
            room_count = count + 16
            room = ffi_new("zedcup_ffi_peer_t[?]", room_count)
        end
        err_len[0] = ERROR_SIZE
        count = C.zedcup_ffi_zone_peers(zone, #zone, room, room_count, err_buf, err_len)
    until count <= room_count
    if count < 0 then
        return nil, ffi_str(err_buf, err_len[0])
    end
    local list = {}
    for i = 0, count - 1 do
        list[i + 1] = show(room[i])
    end
    return list
end


--- What a zone's memory is used for, and what its method knows.
---@param zone string
---@return table|nil usage used (bytes), free_pages, retired (removed peers still in
--- use), backups (whether its method knows any)
---@return string|nil err
function _M.usage(zone)
    local usage = ffi_new("zedcup_ffi_zone_usage_t[1]")
    err_len[0] = ERROR_SIZE
    if C.zedcup_ffi_zone_usage(zone, #zone, usage, err_buf, err_len) ~= 0 then
        return nil, ffi_str(err_buf, err_len[0])
    end
    return {
        used = tonumber(usage[0].used),
        free_pages = tonumber(usage[0].free_pages),
        retired = tonumber(usage[0].retired),
        backups = usage[0].backups ~= 0,
    }
end


-- The strings belong to the caller, who keeps them until C has returned.
local function fill(edit, peer, params)
    edit.peer = peer
    edit.peer_len = #peer
    local given, flags = 0, 0
    for field, bit in pairs(NUMBERS) do
        local value = params[field]
        edit[field] = value or 0
        given = value and bor(given, bit) or given
    end
    for field, bit in pairs(FLAGS) do
        local value = params[field]
        if value ~= nil then
            given = bor(given, bit)
            flags = value and bor(flags, bit) or flags
        end
    end
    edit.given, edit.flags = given, flags
end


local function result(rc)
    if rc == 0 then
        return true
    end
    return nil, ffi_str(err_buf, err_len[0])
end


local function edit(call, zone, peer, params)
    fill(one[0], peer, params)
    err_len[0] = ERROR_SIZE
    return result(call(zone, #zone, one, err_buf, err_len))
end


--- The params of these are complete and checked; a missing one is not meant.
---@param zone string
---@param peer string
---@param params table
---@return boolean|nil ok
---@return string|nil err
function _M.add(zone, peer, params)
    return edit(C.zedcup_ffi_peer_add, zone, peer, params)
end


---@param zone string
---@param peer string
---@param params table
---@return boolean|nil ok
---@return string|nil err
function _M.set(zone, peer, params)
    return edit(C.zedcup_ffi_peer_set, zone, peer, params)
end


---@param zone string
---@param peer string
---@return boolean|nil ok
---@return string|nil err
function _M.remove(zone, peer)
    return edit(C.zedcup_ffi_peer_remove, zone, peer, {})
end


---@param zone string
---@param list table[] of { peer =, params = }
---@return boolean|nil ok
---@return string|nil err
function _M.replace(zone, list)
    local edits = ffi_new("zedcup_ffi_peer_edit_t[?]", #list)
    for i, entry in ipairs(list) do
        fill(edits[i - 1], entry.peer, entry.params)
    end
    err_len[0] = ERROR_SIZE
    return result(C.zedcup_ffi_peers_replace(zone, #zone, edits, #list, err_buf, err_len))
end


return _M
