--- The certificate that an instance shows to its hosts: read from the files
--- that its `ssl` names, once a worker and revision.
--
-- The paths come from the store: whatever they name, reading must not block
-- the worker. A pipe is opened without waiting for its writer, and no more than
-- a bounded part of anything is read.

local ffi = require("ffi")

local C = ffi.C
local bor = require("bit").bor
local concat = table.concat
local md5 = ngx.md5
local now = ngx.now
local pcall = pcall
local require = require
local tostring = tostring

ffi.cdef[[
int open(const char *path, int flags, ...);
int close(int fd);
ssize_t read(int fd, void *buf, size_t count);
char *strerror(int errnum);
]]

local O_RDONLY, O_NONBLOCK, O_CLOEXEC = 0, 2048, 524288 -- Linux
local MAX_BYTES = 1048576
local PIECE = 65536
local RETRY_AFTER = 1 -- seconds

local _M = {}


local function last_error()
    return ffi.string(C.strerror(ffi.errno()))
end


local function read_all(fd)
    local piece, pieces, total = ffi.new("char[?]", PIECE), {}, 0
    while true do
        local n = tonumber(C.read(fd, piece, PIECE))
        if n < 0 then
            return nil, last_error()
        elseif n == 0 then
            return concat(pieces)
        end
        total = total + n
        if total > MAX_BYTES then
            return nil, "larger than 1 MiB"
        end
        pieces[#pieces + 1] = ffi.string(piece, n)
    end
end


local function read_file(path)
    local fd = C.open(path, bor(O_RDONLY, O_NONBLOCK, O_CLOEXEC))
    if fd < 0 then
        return nil, last_error()
    end
    local text, err = read_all(fd)
    C.close(fd)
    return text, err
end


-- What parse() makes of a file; or nil and an error that names the key.
local function load(key, path, parse)
    local text, err = read_file(path)
    if not text then
        return nil, "ssl." .. key .. ": " .. path .. ": " .. err
    end
    local called, parsed, why = pcall(parse, text)
    if not called or not parsed then
        return nil, "ssl." .. key .. ": " .. path .. ": "
                    .. tostring(not called and parsed or why)
    end
    return parsed, nil, text
end


local function load_both(ssl)
    local found, parser = pcall(require, "ngx.ssl")
    if not found or not parser.parse_pem_cert or not parser.parse_pem_priv_key then
        return nil, "ssl.client_cert: this nginx has no ngx.ssl (lua-resty-core)"
    end
    local cert, err, cert_text = load("client_cert", ssl.client_cert, parser.parse_pem_cert)
    if not cert then
        return nil, err
    end
    local key, key_text
    key, err, key_text = load("client_key", ssl.client_key, parser.parse_pem_priv_key)
    if not key then
        return nil, err
    end
    return { cert = cert, key = key, digest = md5(cert_text .. key_text) }
end


--- The pair of an instance, for its view's life. Files that cannot be used are
--- looked at again after a second.
---@param ssl table with client_cert and client_key
---@return table
function _M.new(ssl)
    return { ssl = ssl, pair = nil, err = nil, checked = 0 }
end


--- What new() stands for, read where it has not been.
---@param holder table of new()
---@return { cert: userdata, key: userdata, digest: string }|nil pair
---@return string|nil err
function _M.get(holder)
    if not holder.pair and (not holder.err or now() - holder.checked >= RETRY_AFTER) then
        holder.checked = now()
        holder.pair, holder.err = load_both(holder.ssl)
    end
    return holder.pair, holder.err
end


return _M
