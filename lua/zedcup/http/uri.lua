--- URIs: taking one apart, and writing the parts a request needs.

local byte = string.byte
local find = string.find
local format = string.format
local gsub = string.gsub
local lower = string.lower
local match = string.match
local ngx = ngx
local pcall = pcall
local sub = string.sub
local tonumber = tonumber
local tostring = tostring
local type = type

local DEFAULT_PORTS = { http = 80, https = 443 }

local _M = {}


---A port number out of a number or a string.
---@param value any
---@return integer|nil
local function to_port(value)
    local port = tonumber(value)
    if port and port >= 0 and port <= 65535 and port % 1 == 0 then
        return port
    end
end
_M.to_port = to_port


-- Splits "host:port" or "[v6]:port"; the port may be absent or empty.
local function parse_authority(authority)
    local host, port = match(authority, "^(%[[%x:.]+%])(.*)$")
    if not host then
        host, port = match(authority, "^([^:]+)(.*)$")
    end
    if not host or find(host, "[%c \\<>\"{}|^`]") then
        return nil, "bad host"
    end
    if port == "" or port == ":" then
        return host
    end
    port = match(port, "^:(%d+)$")
    port = port and to_port(port)
    if not port then
        return nil, "bad port"
    end
    return host, port
end


---Takes an absolute http or https URI apart. User information is refused:
---nobody means it, and it hides the host from a reader.
---@param uri string
---@return table|nil parts { scheme, host, port, path, query }; the host of an
---IPv6 address keeps its brackets, `query` is nil where there is none
---@return string|nil err
function _M.parse(uri)
    if type(uri) ~= "string" then
        return nil, "bad uri: a string expected"
    end
    local scheme, authority, rest = match(uri, "^(%a[%w+.-]*)://([^/?#]*)(.*)$")
    scheme = scheme and lower(scheme)
    if not scheme or not DEFAULT_PORTS[scheme] then
        return nil, "bad uri: http:// or https:// expected"
    end
    if find(authority, "@", 1, true) then
        return nil, "bad uri: user information is not supported"
    end
    local host, port = parse_authority(authority)
    if not host then
        return nil, "bad uri: " .. port
    end

    rest = match(rest, "^[^#]*")
    local path, query = match(rest, "^([^?]*)%??(.*)$")
    return {
        scheme = scheme, host = host, port = port or DEFAULT_PORTS[scheme],
        path = path == "" and "/" or path,
        query = find(rest, "?", 1, true) and query or nil,
    }
end


---A host as nginx and a Host header take it: brackets around an IPv6 address.
---@param host string
---@return string
function _M.bracket(host)
    if find(host, ":", 1, true) and byte(host) ~= 91
        and sub(host, 1, 5) ~= "unix:"
    then
        return "[" .. host .. "]"
    end
    return host
end


---The value of a Host header: the port only where it is not the default one.
---@param scheme "http"|"https"
---@param host string
---@param port integer|nil
---@return string
function _M.authority(scheme, host, port)
    if sub(host, 1, 5) == "unix:" then
        return "localhost"
    end
    host = _M.bracket(host)
    if not port or port == DEFAULT_PORTS[scheme] then
        return host
    end
    return host .. ":" .. port
end


---A query string out of what a caller gives: a string (a leading `?` is let
---by) or a table of strings, numbers, `true`, or arrays of these.
---@param query string|table
---@return string|nil query without `?`
---@return string|nil err
function _M.encode_query(query)
    if type(query) == "table" then
        local ok, text = pcall(ngx.encode_args, query)
        if not ok then
            return nil, "bad query: " .. tostring(text)
        end
        return text
    end
    if type(query) ~= "string" then
        return nil, "bad query: a string or a table expected"
    end
    return byte(query) == 63 and sub(query, 2) or query
end


---Encodes what may not stand in the path of a request line, as nginx does for
---a path it has decoded.
---@param path string
---@return string
function _M.escape_path(path)
    return (gsub(path, "[%z\1-\32#%%?\127-\255]", function(c)
        return format("%%%02X", byte(c))
    end))
end


_M.DEFAULT_PORTS = DEFAULT_PORTS

return _M
