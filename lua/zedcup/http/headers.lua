--- The header table of an answer: names as the server wrote them, look-ups in
--- any case, repeated headers as an array.
--
-- Keys sit in the table itself under their own spelling, so pairs() shows them
-- and an exact look-up is a plain index. Only a look-up that misses compares
-- names without case, and takes `_` for `-`.

local clear = require("table.clear")
local names = require("zedcup.http.names")
local new_table = require("table.new")

local folded = names.folded
local byte = string.byte
local find = string.find
local gsub = string.gsub
local lower = string.lower
local next = next
local pairs = pairs
local rawget = rawget
local rawset = rawset
local setmetatable = setmetatable
local sub = string.sub
local type = type

local TAB, CR, SPACE = 9, 13, 32

local _M = {}

-- What a trailer must not add (RFC 9110, 6.5.1): framing, routing, request
-- modifiers, authentication, and how to read the content.
local NOT_IN_TRAILERS = {
    ["age"] = true, ["authorization"] = true, ["cache-control"] = true,
    ["connection"] = true, ["content-encoding"] = true,
    ["content-length"] = true, ["content-range"] = true,
    ["content-type"] = true, ["date"] = true, ["expires"] = true,
    ["host"] = true, ["keep-alive"] = true, ["location"] = true,
    ["proxy-authenticate"] = true, ["retry-after"] = true,
    ["set-cookie"] = true, ["te"] = true, ["trailer"] = true,
    ["transfer-encoding"] = true, ["upgrade"] = true, ["vary"] = true,
    ["warning"] = true, ["www-authenticate"] = true,
}


-- The key that equals `wanted`, a lower-case name, without regard to case.
local function key_of(headers, wanted)
    for key in next, headers do
        if folded[key] == wanted then
            return key
        end
    end
end


local mt = {}


function mt.__index(headers, name)
    local wanted = folded[name]
    if not wanted then
        return nil
    end
    local key = key_of(headers, wanted)
    if not key and find(wanted, "_", 1, true) then
        key = key_of(headers, (gsub(wanted, "_", "-")))
    end
    if key then
        return rawget(headers, key)
    end
end


function mt.__newindex(headers, name, value)
    local wanted = folded[name]
    rawset(headers, wanted and key_of(headers, wanted) or name, value)
end


---An empty header table.
---@return table
function _M.new()
    return setmetatable({}, mt)
end


-- Under which spelling a name has come first; reused, since parse() never
-- yields.
local first_spelling = {}

-- How many headers a table has room for before it grows.
local USUAL_COUNT = 8


-- Adds one header line; a name seen before, in any case, becomes an array.
local function add(raw, name, value)
    local wanted = folded[name]
    local key = first_spelling[wanted]
    if not key then
        first_spelling[wanted] = name
        raw[name] = value
        return
    end

    local known = raw[key]
    if type(known) == "table" then
        known[#known + 1] = value
    else
        raw[key] = { known, value }
    end
end


local function is_blank(c)
    return c == SPACE or c == TAB
end


local function trim_all(buf, from, to)
    while from <= to and is_blank(byte(buf, from)) do
        from = from + 1
    end
    while to >= from and is_blank(byte(buf, to)) do
        to = to - 1
    end
    return from, to
end


---The bounds of buf[from..to] without spaces and tabs at its ends. A value with
---one space before it takes no loop, which would break up the traces of those
---that its callers run in.
---@param buf string
---@param from integer
---@param to integer
---@return integer from
---@return integer to less than `from` where nothing is left
local function trim(buf, from, to)
    if from <= to and byte(buf, from) == SPACE then
        from = from + 1
    end
    if from <= to and (is_blank(byte(buf, from)) or is_blank(byte(buf, to))) then
        return trim_all(buf, from, to)
    end
    return from, to
end
_M.trim = trim


---Builds the table from header lines that response.scan_fields() accepted.
---@param buf string
---@param pos integer  where the first line starts
---@param stop integer where the blank line starts
---@return table
function _M.parse(buf, pos, stop)
    local raw = new_table(0, USUAL_COUNT)
    clear(first_spelling)
    while pos < stop do
        local eol = find(buf, "\n", pos, true)
        local colon = find(buf, ":", pos, true)
        local last = eol - 1
        if byte(buf, last) == CR then
            last = last - 1
        end
        local from, to = trim(buf, colon + 1, last)
        add(raw, sub(buf, pos, colon - 1), sub(buf, from, to))
        pos = eol + 1
    end
    setmetatable(raw, mt) -- a tail call would end the trace here
    return raw
end


---Adds trailers to the headers they belong to. A header that is there already
---stays as it is, and a name that must not come in a trailer is left out.
---@param headers table
---@param trailers table
function _M.merge_trailers(headers, trailers)
    for name, value in pairs(trailers) do
        local wanted = lower(name)
        if not NOT_IN_TRAILERS[wanted] and not key_of(headers, wanted) then
            rawset(headers, name, value)
        end
    end
end


return _M
