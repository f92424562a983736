-- The module's functions for lreu.syncer and lreu.health, in the words of Lua.
-- nginx/zedcup_ffi.h is the original of the declarations.

local ffi = require "ffi"
local zffi = require "zedcup.ffi"

local C = ffi.C
local ffi_str = ffi.string
local tonumber = tonumber

local ERROR_SIZE = 1024
local MAX_MESSAGES = 256
local DECLINED = -2

ffi.cdef[[
int zedcup_ffi_feed_start(const char *json, size_t len, void *sema, char *err,
    size_t *err_len);
int zedcup_ffi_feed_take(int feed, zedcup_ffi_message_t *out, int max);
int zedcup_ffi_feed_saved(int feed, const char **json, size_t *len, char *err,
    size_t *err_len);
int zedcup_ffi_feed_run(int feed, const char *known, size_t len, char *err,
    size_t *err_len);
int zedcup_ffi_feed_check(int feed, const char *json, size_t len, char *err,
    size_t *err_len);
]]

local _M = {
    LEAD = 1,
    PEERS = 2,
    SYNCED = 3,
    CHECKED = 4,
    TROUBLE = 5,
}

local err_buf = ffi.new("char[?]", ERROR_SIZE)
local err_len = ffi.new("size_t[1]")
local text = ffi.new("const char *[1]")
local text_len = ffi.new("size_t[1]")
local messages


-- rc, or nil and the text that the module left.
local function checked(rc)
    if rc >= 0 or rc == DECLINED then
        return rc
    end
    return nil, ffi_str(err_buf, err_len[0])
end


--- Makes a feed of this worker.
---@param json string the options of syncer.init
---@param sema cdata the semaphore to post for messages; keep it alive
---@return number|false|nil feed its number; false: nothing to do in this process
---@return string|nil err names the key
function _M.start(json, sema)
    local ok, err = zffi.available()
    if not ok then
        return nil, err
    end
    err_len[0] = ERROR_SIZE
    local rc
    rc, err = checked(C.zedcup_ffi_feed_start(json, #json, sema, err_buf, err_len))
    return rc ~= DECLINED and rc, err
end


--- Calls handle(kind, id, name, text, revision) for each waiting message.
---@param feed number
---@param handle function must neither raise nor yield
function _M.drain(feed, handle)
    messages = messages or ffi.new("zedcup_ffi_message_t[?]", MAX_MESSAGES)
    repeat
        local count = C.zedcup_ffi_feed_take(feed, messages, MAX_MESSAGES)
        for i = 0, count - 1 do
            local m = messages[i]
            handle(m.kind, tonumber(m.id), ffi_str(m.name, m.name_len),
                   ffi_str(m.text, m.text_len), tonumber(m.revision))
        end
    until count == 0
end


--- What zedcup_state_dir has of a feed's peers. Reads a file.
---@param feed number
---@return string|nil json saved, services: see zedcup_ffi.h; "": nothing
---@return string|nil err
function _M.saved(feed)
    err_len[0] = ERROR_SIZE
    local rc, err = checked(C.zedcup_ffi_feed_saved(feed, text, text_len, err_buf, err_len))
    return rc and ffi_str(text[0], text_len[0]), err
end


--- Starts the actors of a feed whose worker leads.
---@param feed number
---@param known string JSON, see zedcup_ffi.h
---@return boolean|nil ok
---@return string|nil err
function _M.run(feed, known)
    err_len[0] = ERROR_SIZE
    local rc, err = checked(C.zedcup_ffi_feed_run(feed, known, #known, err_buf, err_len))
    return rc and true, err
end


--- Peers are checked from now on.
---@param feed number
---@param json string interval, timeout, max_fails, min_rises, ok_status
---@return boolean|nil ok
---@return string|nil err names the key
function _M.check(feed, json)
    err_len[0] = ERROR_SIZE
    local rc, err = checked(C.zedcup_ffi_feed_check(feed, json, #json, err_buf, err_len))
    return rc and true, err
end


return _M
