--- TLS handshakes over cosockets: which name is sent and checked, and the check
--- of a certificate against an address, which ngx_lua leaves out.
--
-- ngx_lua compares a certificate with a DNS name only. A server that is known
-- by its address has none: its certificate must name the address (an IP entry
-- among the subject's alternative names), which OpenSSL itself checks here on
-- the certificate of the session. Where that is not possible the handshake
-- fails: verification is never quietly less than what was asked for.

local ffi = require("ffi")

local C = ffi.C
local find = string.find
local match = string.match
local pcall = pcall
local setmetatable = setmetatable
local sub = string.sub
local tostring = tostring
local type = type

ffi.cdef[[
void *SSL_SESSION_get0_peer(void *session);
int SSL_SESSION_is_resumable(const void *session);
int X509_check_ip_asc(void *certificate, const char *address, unsigned flags);
]]

local _M = {}


local function has_symbol(name)
    return (pcall(function()
        return C[name]
    end))
end

local CHECKS_ADDRESSES = has_symbol("SSL_SESSION_get0_peer")
    and has_symbol("X509_check_ip_asc")
local KNOWS_RESUMABLE = has_symbol("SSL_SESSION_is_resumable")


---An address without brackets, or nil for a host name or a unix socket.
---@param host string
---@return string|nil
local function address_of(host)
    if find(host, "^%d+%.%d+%.%d+%.%d+$") then
        return host
    end
    if sub(host, 1, 5) ~= "unix:" and find(host, ":", 1, true) then
        return match(host, "^%[(.*)%]$") or host
    end
end


---What a server's certificate is expected to name, where nobody said it: the
---host name, or the address; nothing of a unix socket. Addresses are not sent
---as SNI (RFC 6066, 3).
---@param host string
---@return string|nil name
---@return string|nil address
function _M.identity_of(host)
    local address = address_of(host)
    if address then
        return nil, address
    end
    if sub(host, 1, 5) == "unix:" then
        return nil
    end
    return host
end


-- Returns nil where the certificate of a session is for that address.
local function address_error(session, address)
    if not CHECKS_ADDRESSES then
        return "cannot check a certificate against an address in this nginx:"
            .. " give the name to expect"
    end
    if type(session) ~= "cdata" then
        return "no session to check the certificate in"
    end
    local certificate = C.SSL_SESSION_get0_peer(session)
    if certificate == nil then
        return "no certificate in the session"
    end
    if C.X509_check_ip_asc(certificate, address, 0) ~= 1 then
        return "certificate host mismatch: it is not for the address "
            .. address
    end
end


---Shakes hands. Yields.
---@param sock tcpsock or what has a handshake of the same form
---@param method string its name
---@param who { name?: string, address?: string, verify: boolean, ocsp?: boolean }
---@param session? userdata|boolean to resume; false: return none
---@return userdata|boolean|nil session
---@return string|nil err
function _M.shake(sock, method, who, session)
    local address = who.verify and not who.name and who.address
    if address and session == false then
        session = nil -- the certificate is in it
    end
    local called, result, err = pcall(sock[method], sock, session, who.name,
                                      who.verify, who.ocsp)
    if not called then
        return nil, tostring(result)
    end
    if err and not result then
        return nil, tostring(err)
    end
    if address then
        err = address_error(result, address)
        if err then
            return nil, err
        end
    end
    return result
end


---Whether a session can save the next handshake. Those of TLS 1.3 come in
---tickets after the handshake, which ngx_lua does not hand out.
---@param session any of shake()
---@return boolean
function _M.is_resumable(session)
    return type(session) == "cdata" and session ~= nil and KNOWS_RESUMABLE
        and C.SSL_SESSION_is_resumable(session) == 1
end


-- Certificates and keys that callers gave, by number: an address of memory
-- would be that of another one some day.
local numbers, last = setmetatable({}, { __mode = "k" }), 0


---A text that no other certificate or key has.
---@param object any
---@return string
function _M.number_of(object)
    if object == nil then
        return ""
    end
    local number = numbers[object]
    if not number then
        last = last + 1
        number = last
        numbers[object] = number
    end
    return tostring(number)
end


return _M
