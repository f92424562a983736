--- Header names: are they well-formed, and what is their lower-case form?
--
-- Both questions come up for every header of every request and answer, and
-- nearly always for the same few names, so the answers are remembered. The
-- memory is bounded in entries and in the length of a name: a peer that makes
-- up names costs itself time and us nothing lasting.

local clear = require("table.clear")

local find = string.find
local lower = string.lower
local type = type

local MAX_ENTRIES = 1024
local MAX_LENGTH = 64

-- tchar of RFC 9110, 5.6.2.
local NOT_A_TOKEN = "[^%w!#$%%&'*+%-.^_`|~]"

local entries = 0


---Whether a string is a token of RFC 9110: a method or a header name.
---@param text any
---@return boolean
local function is_token(text)
    return type(text) == "string" and text ~= ""
        and not find(text, NOT_A_TOKEN)
end


local function look_up(memory, name)
    if not is_token(name) then
        return false
    end

    local folded = lower(name)
    if #name <= MAX_LENGTH then
        if entries >= MAX_ENTRIES then
            clear(memory)
            entries = 0
        end
        memory[name] = folded
        entries = entries + 1
    end
    return folded
end


local _M = {
    is_token = is_token,

    ---`folded[name]` is the lower-case name, or false for what is not a name.
    ---@type table<any, string|false>
    folded = setmetatable({}, { __index = look_up }),
}


return _M
