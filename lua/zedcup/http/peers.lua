--- Hosts and ports that clients connect to, checked once and then remembered:
--- how a cosocket takes the name, and the Host header for it.
--
-- Bounded in entries, since hosts may come from a caller's untrusted URIs.

local uri = require("zedcup.http.uri")

local authority_of = uri.authority
local bracket = uri.bracket
local find = string.find
local sub = string.sub
local to_port = uri.to_port
local type = type

local MAX_ENTRIES = 4096

local hosts, entries = {}, 0

local _M = {}

---@class zedcup.http.peer
---@field name string     for the cosocket's connect()
---@field port integer    0 of a unix socket
---@field is_unix boolean
---@field http string     the Host header over TCP
---@field https string    the Host header over TLS


local function count_entry()
    if entries >= MAX_ENTRIES then
        hosts, entries = {}, 0
    end
    entries = entries + 1
end


-- The peers of a name, by the port as the caller gave it, or `unix`.
local function learn_name(text)
    if type(text) ~= "string" or text == "" or find(text, "[%c ]") then
        return nil
    end
    count_entry()
    local peers = {}
    hosts[text] = peers
    return peers
end


---Whether a text can name a host or stand in a Host header.
---@param text any
---@return boolean
function _M.is_name(text)
    return hosts[text] ~= nil or learn_name(text) ~= nil
end


local function learn_peer(peers, host, given_port)
    local is_unix = sub(host, 1, 5) == "unix:"
    local port = is_unix and 0 or to_port(given_port)
    if not port then
        return nil, "bad port"
    end
    count_entry()
    local peer = {
        name = bracket(host), port = port, is_unix = is_unix,
        http = authority_of("http", host, port),
        https = authority_of("https", host, port),
    }
    peers[is_unix and "unix" or given_port] = peer
    return peer
end


---@param host any
---@param port any a number or digits; of no account with a unix socket
---@return zedcup.http.peer|nil
---@return string|nil err
function _M.find(host, port)
    local peers = hosts[host] or learn_name(host)
    if not peers then
        return nil, "bad host"
    end
    local peer = peers.unix or peers[port]
    if peer then
        return peer
    end
    return learn_peer(peers, host, port)
end


return _M
