-- What one worker knows of one service: its peers as the shared dictionary has
-- them, whom checks or cuts keep out, and the module's list to pick from.
-- The dictionary is looked at once in each millisecond of nginx's clock.

local addresses = require "zedcup.addresses"
local picker_ffi = require "zedcup.ffi_picker"
local storage = require "lreu.storage"

local ngx = ngx
local ipairs = ipairs
local setmetatable = setmetatable
local tonumber = tonumber
local floor = math.floor
local max = math.max

-- Peers that are out are looked at again, so many at a time.
local RECHECKED = 16
-- Said at most every so many seconds.
local REMINDER = 60

local view = {}
view.__index = view


local function is_name(host)
    return host:byte(1) ~= 91 and not host:find("^%d+%.%d+%.%d+%.%d+$")
end


local function new_target(_, address)
    return { address = address, failed = 0 }
end


-- Everything about a slot beside its public table.
local function new_slot(self, peer, before)
    local name = peer.name
    local old = before[name]
    return {
        name = name,
        peer = peer,
        check_key = storage.check_key(self.service, name),
        out = old and old.out or false,     -- by a check
        names = is_name(peer.host) and (old and old.names or addresses.new(peer.host)) or nil,
        recovered = old and old.recovered or 0,
        cut = 0,
    }
end


-- A number from the dictionary, where anyone may have written anything.
local function number_at(dict, key, most)
    local value = tonumber(dict:get(key) or 0) or 0
    return value >= 0 and value <= most and value or 0
end


local function read_tuning(self)
    local dict, service = self.dict, self.service
    for _, slot in ipairs(self.slots) do
        slot.cut = max(number_at(dict, storage.cut_key(service, slot.name), 100),
                       number_at(dict, storage.judged_key(service, slot.name), 100))
        slot.recovered = max(slot.recovered,
                             number_at(dict, storage.recovered_key(service, slot.name), 1e11))
    end
    local percent = number_at(dict, service .. "|blackhole", 100)
    self.black_hole = percent > 0 and percent or nil
end


-- Its share of a whole `scale`; nothing where it is down or out.
local function weight_of(slot, scale, with_out)
    local peer = slot.peer
    if peer.status == "down" or (slot.out and not with_out) then
        return 0
    end
    return floor(peer.weight * (scale == 1 and 1 or 100 - slot.cut) + 0.5)
end


local function fill(self, with_out)
    local scale = 1
    for _, slot in ipairs(self.slots) do
        if slot.cut > 0 and not with_out then
            scale = 100
        end
    end
    local list, usable = {}, 0
    for i, slot in ipairs(self.slots) do
        local weight = weight_of(slot, scale, with_out)
        usable = usable + (weight > 0 and 1 or 0)
        list[i] = { name = slot.name, weight = weight, slow_start = slot.peer.slow_start,
                    start = max(slot.peer.start_at, slot.recovered) }
    end
    return list, usable
end


-- Gives the module the list as it is now. Where checks and cuts would leave
-- nobody, they count for nothing: a service that answers badly is better than
-- none.
local function update(self, now)
    local list, usable = fill(self, false)
    local panics = false
    if usable == 0 then
        list, usable = fill(self, true)
        panics = usable > 0
    end
    if panics and now - self.reminded > REMINDER then
        self.reminded = now
        ngx.log(ngx.ERR, "lreu: ", self.service, ": all peers are out by checks or cuts; ",
                "they are used all the same")
    end
    self.panics = panics
    self.usable = usable
    picker_ffi.update(self.list, list, now)
end


-- The peers as they are written now; nil where they are no better than what was
-- found to be bad before, or bad now: then those that there are stay.
local function decode_peers(self)
    local key = self.service .. "|peers"
    local text = self.dict:get(key)
    if self.trouble and text == self.bad_text then
        return nil
    end
    local peers, problem = storage.decode(text)
    self.trouble, self.bad_text = nil, nil
    if not peers then
        self.trouble, self.bad_text = key .. ": " .. problem, text
        problem = problem .. "; those before stay"
    end
    if problem then
        ngx.log(ngx.ERR, "lreu: ", key, ": ", problem)
    end
    return peers
end


local function read_peers(self)
    local peers = decode_peers(self)
    if not peers then
        return false
    end
    local before = {}
    for _, slot in ipairs(self.slots) do
        before[slot.name] = slot
    end
    local slots, by_name, checked, has_names = {}, {}, {}, false
    for i, peer in ipairs(peers) do
        slots[i] = new_slot(self, peer, before)
        by_name[slots[i].name] = i
        checked[i] = 0
        has_names = has_names or slots[i].names ~= nil
    end
    self.slots, self.by_name, self.peers = slots, by_name, peers
    self.checked, self.has_names = checked, has_names
    return true
end


-- Looks at some of those that are out; true: one is back.
local function recheck(self, now)
    local slots, count = self.slots, self.out_count
    if count == 0 then
        return false
    end
    local back, seen, looked, still = false, 0, 0, 0
    for _, slot in ipairs(slots) do
        if slot.out then
            seen = seen + 1
            if looked < RECHECKED and seen > self.recheck_from then
                looked = looked + 1
                if not self.dict:get(slot.check_key) then
                    slot.out = false
                    slot.recovered = now
                    back = true
                end
            end
            still = still + (slot.out and 1 or 0)
        end
    end
    self.recheck_from = self.recheck_from + looked
    if looked < RECHECKED then
        self.recheck_from = 0
    end
    self.out_count = still
    return back
end


--- Brings it up to date; called when nginx's clock has moved on.
---@param now number unix time
---@return boolean known whether there is such a service; if not, `trouble` may say why
function view:look(now)
    self.looked = now
    local dict = self.dict
    local version = dict:get(self.version_key)
    if not version then
        self.version, self.trouble = nil, nil
        return false
    end
    local tuning = dict:get(self.tuning_key)
    local changed = false
    if version ~= self.version and read_peers(self) then
        self.version = version
        changed = true
    end
    if tuning and (changed or tuning ~= self.tuning) then
        self.tuning = tuning
        read_tuning(self)
        changed = true
    end
    if recheck(self, now) or changed then
        local out = 0
        for _, slot in ipairs(self.slots) do
            out = out + (slot.out and 1 or 0)
        end
        self.out_count = out
        update(self, now)
    end
    return self.version ~= nil
end


-- One that is out is seldom alone: looks at all of them, lest each costs an update.
local function note_out(self)
    local dict = self.dict
    for _, slot in ipairs(self.slots) do
        if not slot.out and dict:get(slot.check_key) then
            slot.out = true
            self.out_count = self.out_count + 1
        end
    end
end


--- Whether a check keeps the peer of a slot out. What `checked` says of the same
--- `now` need not be asked again.
---@param i number place of the slot, from 1
---@param now number unix time
---@return boolean
function view:is_out(i, now)
    if self.panics then
        return false
    end
    self.checked[i] = now
    local slot = self.slots[i]
    if not self.dict:get(slot.check_key) then
        return false
    end
    note_out(self)
    update(self, now)
    return not self.panics
end


--- The peer of a slot as it can be connected to. A host name has one of its
--- addresses in `host`.
---@param slot table
---@return table|nil peer nil: its name has no address yet
function view.target(slot)
    local names, peer = slot.names, slot.peer
    if not names then
        return peer
    end
    if addresses.refresh(names, new_target) == 0 then
        return nil
    end
    return setmetatable({ host = addresses.next(names).address }, { __index = peer })
end


local _M = {}


---@param dict table ngx.shared.<name>
---@param service string
---@return table|nil view
---@return string|nil err
function _M.new(dict, service)
    local list, err = picker_ffi.new(ngx.worker.id() or 0)
    if not list then
        return nil, err
    end
    return setmetatable({
        dict = dict,
        service = service,
        list = list,
        version_key = service .. "|version",
        tuning_key = service .. "|tuning",
        slots = {}, by_name = {}, peers = {},
        checked = {},           -- when the check of a slot was looked at
        has_names = false,      -- some peers are host names
        out_count = 0, recheck_from = 0, usable = 0,
        looked = 0, reminded = 0, panics = false,
    }, view)
end


return _M
