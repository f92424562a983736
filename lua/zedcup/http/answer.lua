--- What request() returns: an answer whose body is still on the wire.
--
-- `status`, `reason`, `version`, `has_body` and `keep_alive` are plain fields.
-- `headers` and `body_reader` are made on first use, then plain fields too.

local body = require("zedcup.http.body")
local headers = require("zedcup.http.headers")
local response = require("zedcup.http.response")

local rawset = rawset
local setmetatable = setmetatable

---@class zedcup.http.answer
---@field status integer
---@field reason string      "" where the server gave none
---@field version number     1.1 or 1.0
---@field headers table      by name, in any case; repeats as an array
---@field has_body boolean   there is a body to read, possibly an empty one
---@field keep_alive boolean the connection may be reused after the body
---@field body_reader fun(max?: integer): string|nil, string|nil, string|nil
local methods = {}


---Reads the whole body. Yields unless it came with the head.
---@return string|nil body "" where there is none
---@return string|nil err
---@return string|nil partial what came before the error
function methods:read_body()
    return body.read_all(self)
end


---Puts the trailers that followed a chunked body into `headers`, below the
---headers of the same name; those that may not come in a trailer are left out.
---@return table|nil headers
---@return string|nil err when the body has not been read to its end
function methods:read_trailers()
    if not self.done then
        return nil, "the body has not been read"
    end
    if self.trailers then
        headers.merge_trailers(self.headers, response.headers(self.trailers))
        self.trailers = nil
    end
    return self.headers
end


local made = {}


made.headers = response.headers


-- Takes a maximum of bytes; returns nil at the end and nil, err on failure.
function made.body_reader(answer)
    return function(max)
        return body.read(answer, max)
    end
end


local mt = {}


function mt.__index(answer, key)
    local method = methods[key]
    if method then
        return method
    end
    local make = made[key]
    if make then
        local value = make(answer)
        rawset(answer, key, value)
        return value
    end
end


local _M = {}


---@param head table of response.parse()
---@param conn zedcup.http.buffered where the body comes from
---@return zedcup.http.answer
function _M.new(head, conn)
    head.conn = conn
    setmetatable(head, mt)
    return head
end


return _M
