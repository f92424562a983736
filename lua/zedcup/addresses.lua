--- The addresses behind the host names of an instance: targets that share the
--- host's weight turn by turn.
--
-- A name of /etc/hosts, as it was when this worker first met a name, has the
-- addresses it has there. Any other is asked of nginx's resolver by the module,
-- which asks again when the time to live is over and keeps the last addresses
-- that were good. Until the first answer there are none.

local zffi = require "zedcup.ffi"

local gmatch = string.gmatch
local io_open = io.open
local lower = string.lower
local now = ngx.now
local setmetatable = setmetatable

local HOSTS_FILE = "/etc/hosts"
local MAX_FILE = 1048576
-- A target that could not be connected to comes last for so long, in seconds.
local PASSED_OVER = 10

local _M = {}

local known_hosts                                   -- name -> list of addresses
local asked = setmetatable({}, { __mode = "v" })    -- name -> entry


local function add_line(names, line)
    local address, rest = line:gsub("#.*", ""):match("^%s*([%x.:]+)%s+(.*)$")
    if not address then
        return
    end
    if address:find(":", 1, true) then
        address = "[" .. address .. "]"
    end
    for name in gmatch(lower(rest), "%S+") do
        local list = names[name] or {}
        list[#list + 1] = address
        names[name] = list
    end
end


local function read_hosts()
    local names = {}
    local file = io_open(HOSTS_FILE)
    if file then
        local text = file:read(MAX_FILE) or ""
        file:close()
        for line in gmatch(text, "[^\r\n]+") do
            add_line(names, line)
        end
    end
    names["localhost"] = names["localhost"] or { "127.0.0.1" }
    return names
end


-- All holders of a name share one entry.
local function ask(name)
    local entry = asked[name]
    if not entry then
        entry = zffi.acquire_name(name)
        asked[name] = entry
    end
    return entry
end


--- The addresses of one host. Takes over what is known of the name already, so
--- that it outlives a change of the instance.
---@param name string
---@return table holder
function _M.new(name)
    name = lower(name)
    return { name = name, entry = asked[name], version = 0, fixed = false,
             targets = {}, count = 0, turn = ngx.worker.id() or 0 }
end


-- Targets of these addresses; one that was there before stays what it is.
local function renew(holder, list, make, host)
    local before = {}
    for _, target in ipairs(holder.targets) do
        before[target.address] = target
    end
    local targets = {}
    for i, address in ipairs(list) do
        targets[i] = before[address] or make(host, address)
    end
    holder.targets, holder.count = targets, #targets
end


local function renew_asked(holder, make, host)
    local entry = holder.entry
    if not entry then
        entry = ask(holder.name)
        holder.entry = entry
        if not entry then
            return
        end
    end
    local version = zffi.name_version(entry)
    if version ~= holder.version then
        local list = {}
        for address in gmatch(zffi.name_addresses(entry), "%S+") do
            list[#list + 1] = address
        end
        renew(holder, list, make, host)
        holder.version = version
    end
end


--- How many targets a host has now.
---@param holder table of new()
---@param make fun(host: table, address: string): table a new target; it gets
---`failed` here, when it could last not be connected to
---@param host any for make()
---@return integer
function _M.refresh(holder, make, host)
    if holder.fixed then
        return holder.count
    end
    if holder.version == 0 and not holder.entry then
        known_hosts = known_hosts or read_hosts()
        local list = known_hosts[holder.name]
        if list then
            renew(holder, list, make, host)
            holder.fixed = true
            return holder.count
        end
    end
    renew_asked(holder, make, host)
    return holder.count
end


--- The target whose turn it is. One that failed of late waits until there is no
--- other.
---@param holder table of new(), with at least one target
---@return table target
function _M.next(holder)
    local targets, count, turn = holder.targets, holder.count, holder.turn
    local since = now() - PASSED_OVER
    for i = 1, count do
        local target = targets[(turn + i - 1) % count + 1]
        if target.failed < since then
            holder.turn = turn + i
            return target
        end
    end
    holder.turn = turn + 1
    return targets[turn % count + 1]
end


--- A target could not be connected to.
---@param target table
function _M.failed(target)
    target.failed = now()
end


return _M
