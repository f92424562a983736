-- A configuration table of a Lua caller as JSON for the actors, with every
-- complaint named by its place: `pools[1].hosts[2].port: expected …`.

local cjson = require("cjson.safe").new()

local type = type
local pairs = pairs
local null = cjson.null
local tonumber = tonumber
local tostring = tostring
local concat = table.concat
local floor = math.floor
local huge = math.huge
local find = string.find
local format = string.format
local gsub = string.gsub
local max = math.max
local sort = table.sort
local sub = string.sub

local MAX_DEPTH = 16

local DOWN_MARK = "_down_by_zedcup"

local _M = {}

local encode_value


local function join(path, key)
    if type(key) == "number" then
        return path .. "[" .. key .. "]"
    end
    return path == "" and key or path .. "." .. key
end


local function complain(path, text)
    return nil, path == "" and text or path .. ": " .. text
end


local function quoted(text)
    return (gsub(cjson.encode(text), "\\/", "/"))
end


-- Keys become segments of store keys.
local function check_key(key, path)
    if type(key) == "number" then
        if key >= 1 and key == floor(key) and key < 2 ^ 31 then
            return true
        end
        return complain(path, "list indexes start at 1, got " .. key)
    end
    if type(key) ~= "string" then
        return complain(path, "keys are strings or indexes, got a " .. type(key))
    end
    if key == "" or find(key, "[%c/]") then
        return complain(path, "unusable key " .. quoted(key))
    end
    return true
end


-- A list element that handler:config() handed out knows its own index.
local function own_index(key, value)
    return type(key) == "number" and type(value) == "table"
           and type(value._idx) == "number" and value._idx
end


local function place(members, key, member, path)
    local ok, err = check_key(key, path)
    if not ok then
        return nil, err
    end
    if members[key] ~= nil then
        return complain(join(path, key), "given twice")
    end
    members[key] = member
    return true
end


-- The members by the key that each is stored under. Elements with an index of
-- their own are stored at it, and the others of such a list behind the last
-- (config read, element appended, written back); plain lists by position.
local function arrange(value, path)
    local members, plain, last = {}, {}, 0
    for key, member in pairs(value) do
        local index = own_index(key, member)
        if type(key) == "number" and not index then
            plain[#plain + 1] = key
        elseif index or type(key) ~= "string" or sub(key, 1, 1) ~= "_" or key == DOWN_MARK then
            local ok, err = place(members, index or key, member, path)
            if not ok then
                return nil, err
            end
            last = max(last, index or 0)
        end
    end

    sort(plain)
    for i = 1, #plain do
        local key = last > 0 and last + i or plain[i]
        local ok, err = place(members, key, value[plain[i]], path)
        if not ok then
            return nil, err
        end
    end
    return members
end


-- Whether the keys are 1 to n, and n.
local function list_length(members)
    local count, last = 0, 0
    for key in pairs(members) do
        if type(key) ~= "number" then
            return false
        end
        count = count + 1
        last = max(last, key)
    end
    return count > 0 and count == last, last
end


local function encode_table(value, path, depth)
    if depth > MAX_DEPTH then
        return complain(path, "nested too deeply")
    end
    local members, err = arrange(value, path)
    if not members then
        return nil, err
    end
    local parts, n = {}, 0
    local is_list, length = list_length(members)
    for key, member in pairs(members) do
        local text
        text, err = encode_value(member, join(path, key), depth + 1)
        if not text then
            return nil, err
        end
        n = n + 1
        if is_list then
            parts[key] = text
        else
            parts[n] = cjson.encode(tostring(key)) .. ":" .. text
        end
    end
    if is_list then
        return "[" .. concat(parts, ",", 1, length) .. "]"
    end
    return "{" .. concat(parts, ",") .. "}"
end


-- As short as it can be without another number coming back.
local function encode_number(value, path)
    if value ~= value or value == huge or value == -huge then
        return complain(path, "expected a finite number")
    end
    local text = format("%.14g", value)
    return tonumber(text) == value and text or format("%.17g", value)
end


function encode_value(value, path, depth)
    local kind = type(value)
    if kind == "table" then
        -- "no status code at all" has no keys to store it by
        if next(value) == nil and find(path, "status_codes$") then
            return "false"
        end
        return encode_table(value, path, depth)
    end
    if kind == "number" then
        return encode_number(value, path)
    end
    if kind == "string" or kind == "boolean" then
        return cjson.encode(value)
    end
    return complain(path, "expected a string, number, boolean or table, got "
                          .. (value == null and "null" or "a " .. kind))
end


--- A configuration as JSON. Keys that begin with "_" are for readers and left
--- out, but for `_down_by_zedcup`, which the writer must know of.
---@param config table
---@return string|nil json
---@return string|nil err names the place
function _M.encode(config)
    if type(config) ~= "table" then
        return nil, "expected a table, got " .. type(config)
    end
    return encode_table(config, "", 1)
end


return _M
