-- The worker's side of picker.sh.

local cjson = require "cjson"
local picker = require "lreu.picker"

local _M = {}

local SIZES = { 3, 100, 10000 }
-- Picks a round: about the same time for each.
local METHODS = {
    { "rr", 1000000 }, { "random", 200000 }, { "least_conn", 200000 }, { "ewma", 200000 },
    { "hash", 1000 },
}


local function peers_of(count)
    local peers = {}
    for i = 1, count do
        peers[i] = { host = "10.0." .. math.floor(i / 256) .. "." .. i % 256, port = 80,
                     weight = i % 5 + 1, status = "up", slow_start = 0, start_at = 0 }
    end
    return peers
end


--- Services s3, s100 and s10000, as the syncer would write them.
function _M.put_services(dict)
    for _, count in ipairs(SIZES) do
        dict:set("s" .. count .. "|peers", cjson.encode(peers_of(count)))
        dict:set("s" .. count .. "|version", 1)
    end
    dict:set("ready", true)
    assert(picker.init(dict))
end


-- The published algorithm: every pick raises each peer's current weight by its
-- own, takes the highest, and lowers that by the total.
local function classic(count)
    local peers, total = peers_of(count), 0
    for _, peer in ipairs(peers) do
        peer.current = 0
        total = total + peer.weight
    end
    return function()
        local best
        for i = 1, count do
            local peer = peers[i]
            peer.current = peer.current + peer.weight
            if not best or peer.current > best.current then
                best = peer
            end
        end
        best.current = best.current - total
        return best
    end
end


-- Nanoseconds a call; the sum keeps the calls from being optimised away.
local function measure(pick, service, key, count)
    local sum, started = 0, os.clock()
    for _ = 1, count do
        sum = sum + pick(service, key).port
    end
    assert(sum == count * 80)
    return (os.clock() - started) * 1e9 / count
end


local function median(rounds, take)
    local all = {}
    for i = 1, rounds do
        all[i] = take()
    end
    table.sort(all)
    return all[math.ceil(rounds / 2)]
end


local function line(name, figures)
    ngx.say(string.format("%-24s %10.0f %10.0f %10.0f", name, unpack(figures)))
end


function _M.run(rounds)
    ngx.say(string.format("%-24s %10s %10s %10s", "", unpack(SIZES)))
    local figures = {}
    for i, count in ipairs(SIZES) do
        local pick = classic(count)
        figures[i] = median(rounds, function()
            return measure(pick, nil, nil, math.floor(math.max(1000, 1000000 / count)))
        end)
    end
    line("classic smooth, in Lua", figures)
    for _, case in ipairs(METHODS) do
        local name, picks = case[1], case[2]
        local key = name == "hash" and "a key" or nil
        for i, count in ipairs(SIZES) do
            figures[i] = median(rounds, function()
                return measure(picker[name], "s" .. count, key, picks)
            end)
        end
        line("picker." .. name, figures)
    end
end


return _M
