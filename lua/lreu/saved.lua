-- A start without the store: the dictionary gets the peers that zedcup_state_dir
-- has of its tree. Every worker does so before its first request, while another may
-- have read the store already and write the dictionary: nothing of that is replaced.

local feeds = require "zedcup.ffi_feeds"
local storage = require "lreu.storage"

local cjson = require("cjson.safe").new()

local ngx = ngx
local ipairs = ipairs
local concat = table.concat

local _M = {}


-- What is not there yet. The names of the services that were added, and of all.
local function add_services(dict, services)
    local added, names = {}, {}
    for i, service in ipairs(services) do
        names[i] = service.name
        -- the peers first: a version without them would be believed
        local ok, err = dict:safe_add(service.name .. "|peers", service.peers)
        if ok then
            dict:safe_add(service.name .. "|version", service.revision)
            added[#added + 1] = service.name
        elseif err ~= "exists" then
            ngx.log(ngx.ERR, "lreu: the shared dictionary cannot take ", service.name,
                    "|peers: ", err, ". Give it more room")
        end
    end
    return added, names
end


--- Fills a dictionary that has nothing yet.
---@param dict table
---@param feed number
function _M.restore(dict, feed)
    if dict:get("ready") then
        return
    end
    local json, err = feeds.saved(feed)
    local saved = json and json ~= "" and cjson.decode(json)
    if not saved then
        return err and ngx.log(ngx.ERR, "lreu: zedcup_state_dir: ", err)
    end
    local added, names = add_services(dict, saved.services)
    dict:safe_add("_allname", concat(names, "|"))
    if dict:safe_add("ready", "saved") then
        ngx.log(ngx.NOTICE, "lreu: until the store is read: ", #names,
                " services of zedcup_state_dir, last confirmed ",
                ngx.http_time(saved.saved))
    end
    -- the store was read meanwhile: what it does not have goes again
    if dict:get("ready") == true then
        storage.remove(dict, storage.missing(added, storage.names(dict)))
    end
end


return _M
