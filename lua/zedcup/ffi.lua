-- The only place where Lua meets the module's C functions: their declarations
-- (nginx/zedcup_ffi.h is the original), the check that the loaded module is the
-- one that these files belong to, and wrappers that speak Lua strings.
--
-- Loads also where the module is missing: `available()` says why it does not
-- serve, so that a wrong set-up is a clear error and not a crash.

local base = require "resty.core.base"
local ffi = require "ffi"

local C = ffi.C
local ffi_new = ffi.new
local ffi_str = ffi.string
local ffi_gc = ffi.gc
local get_request = base.get_request
local tonumber = tonumber
local pcall = pcall

local ABI = 5
local ERROR_SIZE = 1024
local MAX_MESSAGES = 256
local DECLINED = -2

ffi.cdef[[
typedef struct zedcup_instance_s  zedcup_instance_t;

typedef struct {
    int          kind;
    uint64_t     id;
    uint64_t     revision;
    const char  *name;
    size_t       name_len;
    const char  *text;
    size_t       text_len;
} zedcup_ffi_message_t;

typedef struct {
    int          running;
    int          synced;
    int          leads;
    uint64_t     revision;
    const char  *trouble;
    size_t       trouble_len;
    int          settling;
} zedcup_ffi_state_t;

uint32_t zedcup_ffi_abi_version(void);
int zedcup_ffi_options_check(const char *json, size_t len, char *err,
    size_t *err_len);
int zedcup_ffi_runtime_start(const char *json, size_t len, void *sema,
    char *err, size_t *err_len);
void zedcup_ffi_runtime_state(zedcup_ffi_state_t *out);
const volatile uint32_t *zedcup_ffi_epoch_get(void);
int zedcup_ffi_messages_take(zedcup_ffi_message_t *out, int max);
uint64_t zedcup_ffi_ask_submit(int what, const char *name, size_t name_len,
    const char *json, size_t json_len);
zedcup_instance_t *zedcup_ffi_instance_acquire(const char *name,
    size_t name_len);
void zedcup_ffi_instance_release(zedcup_instance_t *instance);
void zedcup_ffi_instance_json(zedcup_instance_t *instance, const char **json,
    size_t *len);
int zedcup_ffi_instance_pick(zedcup_instance_t *instance, uint32_t pool,
    const uint32_t *tried, size_t tried_count);
int zedcup_ffi_instance_pick_by(zedcup_instance_t *instance, uint32_t pool,
    const uint32_t *tried, size_t tried_count, const char *key, size_t key_len);
int zedcup_ffi_pool_wants_tickets(zedcup_instance_t *instance, uint32_t pool);
typedef struct {
    zedcup_instance_t  *instance;
    uint32_t            pool;
    uint32_t            host;
    uint64_t            begun_us;
} zedcup_ticket_t;
void zedcup_ffi_ticket_open(zedcup_ticket_t *ticket,
    zedcup_instance_t *instance, uint32_t pool, uint32_t host);
void zedcup_ffi_ticket_answered(zedcup_ticket_t *ticket, int failed);
void zedcup_ffi_ticket_close(zedcup_ticket_t *ticket);
int zedcup_ffi_host_failed(zedcup_instance_t *instance, uint32_t pool,
    uint32_t host, const char *err, size_t err_len);
void zedcup_ffi_instance_list(const char **json, size_t *len);
void zedcup_ffi_global_json(const char **json, size_t *len);
]]

local _M = {
    ANSWER = 1,
    PUBLISH = 2,
    REMOVE = 3,
    EVENT = 4,

    ASK_CONFIGURE = 1,
    ASK_CONFIGURE_INSTANCE = 2,
    ASK_REMOVE_INSTANCE = 3,
    ASK_SYNCED = 4,
    ASK_STATE = 5,
    ASK_COUNT_ERROR = 6,
    ASK_RESET_ERRORS = 7,
    ASK_NOTE_CHECK = 8,
    ASK_TAKE_DOWN = 9,
    ASK_BRING_UP = 10,
}

local problem            -- why the module cannot be used; false: it can
local err_buf, err_len, text_ptr, text_len, messages, state, ticket_type


local function check_module()
    local found, version = pcall(function() return C.zedcup_ffi_abi_version() end)
    if not found then
        return "the nginx module is not loaded: "
               .. "add load_module \".../ngx_http_zedcup_module.so\";"
    end

    version = tonumber(version)
    if version ~= ABI then
        return "the nginx module speaks version " .. version
               .. " of the interface, these Lua files version " .. ABI
               .. ": install both from one release"
    end

    err_buf = ffi_new("char[?]", ERROR_SIZE)
    err_len = ffi_new("size_t[1]")
    text_ptr = ffi_new("const char *[1]")
    text_len = ffi_new("size_t[1]")
    messages = ffi_new("zedcup_ffi_message_t[?]", MAX_MESSAGES)
    state = ffi_new("zedcup_ffi_state_t")
    return false
end


--- Whether the module is there and of this version.
---@return boolean|nil ok
---@return string|nil err
function _M.available()
    if problem == nil then
        problem = check_module()
    end
    if problem then
        return nil, problem
    end
    return true
end


local function take_error()
    return ffi_str(err_buf, err_len[0])
end


---@param json string the options of zedcup.init
---@return boolean|nil ok
---@return string|nil err names the key
function _M.check_options(json)
    err_len[0] = ERROR_SIZE
    if C.zedcup_ffi_options_check(json, #json, err_buf, err_len) ~= 0 then
        return nil, take_error()
    end
    return true
end


--- Starts the actors in this worker.
---@param json string the options of zedcup.init
---@param sema cdata the semaphore to post for messages; keep it alive
---@return boolean|nil started false: nothing to start in this process
---@return string|nil err
function _M.start(json, sema)
    err_len[0] = ERROR_SIZE
    local rc = C.zedcup_ffi_runtime_start(json, #json, sema, err_buf, err_len)
    if rc == DECLINED then
        return false
    end
    if rc ~= 0 then
        return nil, take_error()
    end
    return true
end


---@return table state running, synced, leads, settling (booleans), revision, trouble (string)
function _M.state()
    C.zedcup_ffi_runtime_state(state)
    return {
        running = state.running ~= 0,
        synced = state.synced ~= 0,
        leads = state.leads ~= 0,
        settling = state.settling ~= 0,
        revision = tonumber(state.revision),
        trouble = ffi_str(state.trouble, state.trouble_len),
    }
end


--- A pointer to the number that changes with every change of content.
---@return cdata
function _M.epoch()
    return C.zedcup_ffi_epoch_get()
end


--- Calls handle(kind, id, name, text, revision) for each waiting message.
---@param handle function must not raise
function _M.drain(handle)
    repeat
        local count = C.zedcup_ffi_messages_take(messages, MAX_MESSAGES)
        for i = 0, count - 1 do
            local m = messages[i]
            handle(m.kind, tonumber(m.id), ffi_str(m.name, m.name_len),
                   ffi_str(m.text, m.text_len), tonumber(m.revision))
        end
    until count == 0
end


---@param what number ASK_*
---@param name string
---@param json string
---@return number id 0: the runtime is not running
function _M.ask(what, name, json)
    return tonumber(C.zedcup_ffi_ask_submit(what, name, #name, json, #json))
end


--- The current content of an instance, released with its last reference here.
---@param name string
---@return cdata|nil
function _M.acquire(name)
    local instance = C.zedcup_ffi_instance_acquire(name, #name)
    if instance == nil then
        return nil
    end
    return ffi_gc(instance, C.zedcup_ffi_instance_release)
end


---@param instance cdata
---@return string json
function _M.instance_json(instance)
    C.zedcup_ffi_instance_json(instance, text_ptr, text_len)
    return ffi_str(text_ptr[0], text_len[0])
end


--- Chooses a host of a pool.
---@param instance cdata
---@param pool number 0-based place of the pool
---@param tried cdata|nil uint32_t array of places to leave out
---@param tried_count number
---@return number place 0-based, negative: none is left
function _M.pick(instance, pool, tried, tried_count)
    return C.zedcup_ffi_instance_pick(instance, pool, tried, tried_count)
end


--- As pick(), for the method `hash`.
---@param key string
---@return number place
function _M.pick_by(instance, pool, tried, tried_count, key)
    return C.zedcup_ffi_instance_pick_by(instance, pool, tried, tried_count, key, #key)
end


---@return boolean wanted whether the pool's choices depend on tickets
function _M.wants_tickets(instance, pool)
    return C.zedcup_ffi_pool_wants_tickets(instance, pool) ~= 0
end


--- A request under way at a host, until close_ticket() or, at the latest, until
--- the collector finds that nobody refers to it.
---@param pool number 0-based place of the pool
---@param place number 0-based place of the host
---@return cdata ticket
function _M.open_ticket(instance, pool, place)
    ticket_type = ticket_type or ffi.typeof("zedcup_ticket_t")
    local ticket = ffi_gc(ticket_type(), C.zedcup_ffi_ticket_close)
    C.zedcup_ffi_ticket_open(ticket, instance, pool, place)
    return ticket
end


--- The host has answered, or will not.
---@param ticket cdata
---@param failed boolean
function _M.ticket_answered(ticket, failed)
    C.zedcup_ffi_ticket_answered(ticket, failed and 1 or 0)
end


---@param ticket cdata
function _M.close_ticket(ticket)
    C.zedcup_ffi_ticket_close(ticket)
end


--- Counts an error against the host that a request failed with.
---@param instance cdata
---@param pool number 0-based place of the pool
---@param place number 0-based place of the host
---@param err string
---@return boolean marked this error took it out of the node's rotation
function _M.host_failed(instance, pool, place, err)
    return C.zedcup_ffi_host_failed(instance, pool, place, err, #err) == 1
end


---@return string json an array of names
function _M.instance_list_json()
    C.zedcup_ffi_instance_list(text_ptr, text_len)
    return ffi_str(text_ptr[0], text_len[0])
end


---@return string json an object
function _M.global_json()
    C.zedcup_ffi_global_json(text_ptr, text_len)
    return ffi_str(text_ptr[0], text_len[0])
end


-- ---- host names ---------------------------------------------------------------

ffi.cdef[[
typedef struct zedcup_name_s  zedcup_name_t;

zedcup_name_t *zedcup_ffi_name_acquire(void *request, const char *text,
    size_t len);
void zedcup_ffi_name_release(zedcup_name_t *name);
uint32_t zedcup_ffi_name_version(zedcup_name_t *name);
void zedcup_ffi_name_addresses(zedcup_name_t *name, const char **text,
    size_t *len);
]]


--- A host name that nginx's resolver is asked for, from now until the last
--- reference here is gone. Nil where the current phase has no request, or no
--- memory is left.
---@param name string
---@return cdata|nil
function _M.acquire_name(name)
    local request = get_request()
    if not request then
        return nil
    end
    local entry = C.zedcup_ffi_name_acquire(request, name, #name)
    if entry == nil then
        return nil
    end
    return ffi_gc(entry, C.zedcup_ffi_name_release)
end


--- A number that changes with the addresses; 0: none are known yet.
---@param entry cdata
---@return number
function _M.name_version(entry)
    return C.zedcup_ffi_name_version(entry)
end


--- The addresses that were known last, each with a blank after it.
---@param entry cdata
---@return string
function _M.name_addresses(entry)
    C.zedcup_ffi_name_addresses(entry, text_ptr, text_len)
    return ffi_str(text_ptr[0], text_len[0])
end


return _M
