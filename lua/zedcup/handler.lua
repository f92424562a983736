--- A handler: one request's way to the hosts of an instance. Made by
--- zedcup.create_handler(); lives no longer than its request. It stands in for
--- a lua-resty-http object.

local connector = require "zedcup.connector"
local dispatcher = require "zedcup.dispatcher"
local events = require "zedcup.events"
local failures = require "zedcup.failures"
local http = require "zedcup.http"
local host_state = require "zedcup.host_state"
local instances = require "zedcup.instances"
local proxy = require "zedcup.http.proxy"
local zffi = require "zedcup.ffi"

local type = type
local setmetatable = setmetatable
local sub = string.sub
local upper = string.upper
local tostring = tostring
local pick = zffi.pick
local pick_by = zffi.pick_by
local pcall = pcall
local ngx = ngx
local wrap = http.wrap

local NO_HOSTS = "No available upstream hosts"
-- A pooled connection that its host has closed meanwhile says nothing about
-- the host: so many in a row are replaced before it does.
local STALE_LIMIT = 3
-- What cosockets take, and raise beyond.
local MAX_INT = 2 ^ 31 - 1

-- RFC 9110, 9.2.2
local IDEMPOTENT = {
    GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true, DELETE = true,
}

local _M = {}
local mt = { __index = _M }


function _M.new(view, key)
    return setmetatable({ view = view, client = nil, pool = nil, callbacks = nil,
                          timeouts = nil, key = key, ticket = nil }, mt)
end


--- The key among the options of create_handler() or request().
---@return string|nil key
---@return string|nil err
function _M.key_of(opts)
    if type(opts) ~= "table" then
        return nil, "opts: expected a table, got " .. type(opts)
    end
    local key = opts.key
    if type(key) == "number" then
        return tostring(key)
    end
    if key ~= nil and type(key) ~= "string" then
        return nil, "key: expected a string, got " .. type(key)
    end
    return key
end


local function client_address()
    return ngx.var.remote_addr
end


-- What the method `hash` chooses by, in this request.
local function own_key(self)
    local key = self.key
    if not key then
        local ok, address = pcall(client_address)
        key = ok and address or ""          -- a timer has no client
        self.key = key
    end
    return key
end


local function choose(self, pool, tried, count)
    local instance = self.view.instance
    if pool.by_key then
        return pick_by(instance, pool.place, tried, count, own_key(self))
    end
    return pick(instance, pool.place, tried, count)
end


-- The request that was under way is over.
local function close_ticket(self)
    local ticket = self.ticket
    if ticket then
        self.ticket = nil
        zffi.close_ticket(ticket)
    end
end


local function open_ticket(self, pool, host)
    close_ticket(self)
    self.ticket = zffi.open_ticket(self.view.instance, pool.place, host.place)
end


local function ticket_answered(self, failed)
    local ticket = self.ticket
    if ticket then
        zffi.ticket_answered(ticket, failed)
        if failed then
            close_ticket(self)
        end
    end
end


--- Binds a callback for the life of this handler; it runs before global ones.
---@param event string
---@param callback function(data)
---@return boolean|nil ok
---@return string|nil err
function _M:bind(event, callback)
    self.callbacks = self.callbacks or {}
    return events.bind(self.callbacks, event, callback)
end


--- The instance's configuration with defaults, a copy that is the caller's:
--- `ssl`, `pools[]` in order, each with `_idx` and `hosts[]`, each with `_idx`
--- and `_pool`.
---@return table
function _M:config()
    return instances.config(self.view)
end


local function emit(self, event, pool, host, err)
    local own = self.callbacks
    if events.wanted(own, event) then
        events.emit(own, event, self.view.name,
                    { pool = pool.config, host = host.config, err = err })
    end
end


-- An error against a host. Where it is the one that takes the host out of the
-- node's rotation, the handler's own callbacks hear of it here; global ones are
-- told by the dispatcher.
local function hold_against(self, pool, host, err)
    if zffi.host_failed(self.view.instance, pool.place, host.place, tostring(err)) then
        events.emit_own(self.callbacks, "host_down",
                        { pool = pool.config, host = host.config, err = err })
    end
    dispatcher.stay()
end


local function connect_failed(self, pool, host, err)
    ticket_answered(self, true)
    failures.record(self.view.name, host)
    emit(self, "host_connect_error", pool, host, err)
    hold_against(self, pool, host, err)
end


-- Walks the pools in order and their hosts as they are drawn, until
-- try(self, pool, host, arg) answers something. `seen_pool` and `seen_place`
-- name a host that was tried already.
local function each_host(self, try, arg, seen_pool, seen_place)
    local view = self.view
    local pools = view.pools
    for i = 1, #pools do
        local pool = pools[i]
        if pool.up then
            local tried, count = failures.tried(view.name, pool)
            if pool == seen_pool then
                tried, count = failures.add(pool, tried, count, seen_place)
            end
            while true do
                local place = choose(self, pool, tried, count)
                if place < 0 then
                    break
                end
                local done, res, err = try(self, pool, pool.hosts[place], arg)
                if done then
                    return res, err
                end
                tried, count = failures.add(pool, tried, count, place)
            end
        end
    end
    return nil, NO_HOSTS
end


local function try_client(self, pool, host, client)
    if pool.tickets then
        open_ticket(self, pool, host)
    end
    local ok, err, hopeless = connector.connect(client, pool, host)
    if not ok then
        if hopeless then
            close_ticket(self)
        else
            connect_failed(self, pool, host, err)
        end
        return hopeless, nil, err
    end
    ticket_answered(self, false)
    self.client, self.pool = client, pool
    emit(self, "host_connect", pool, host)
    return true, client
end


local function open(self, pool, host)
    if pool.tickets then
        open_ticket(self, pool, host)
    end
    local sock, err, hopeless = connector.open(pool, host, self.timeouts)
    if not sock then
        if hopeless then
            close_ticket(self)
        else
            connect_failed(self, pool, host, err)
        end
        return nil, err, hopeless
    end
    return sock
end


local function try_socket(self, pool, host)
    local sock, err, hopeless = open(self, pool, host)
    if not sock then
        return hopeless, nil, err
    end
    ticket_answered(self, false)
    self.client, self.pool = sock, pool
    emit(self, "host_connect", pool, host)
    return true, sock
end


--- Connects to a host, the next where one fails.
---@param client table|nil a cosocket or lua-resty client; a new cosocket without
---@return table|nil sock the connected cosocket or client
---@return string|nil err
function _M:connect(client)
    if client == nil then
        return each_host(self, try_socket)
    end
    if not connector.is_client(client) then
        return nil, "sock: expected a cosocket or a client with connect and set_timeout"
    end
    return each_host(self, try_client, client)
end


local function is_failure(pool, status)
    local known = pool.failing[status]
    if known ~= nil then
        return known
    end
    local text = tostring(status)
    local codes = pool.status_codes
    known = (codes[text] or codes[sub(text, 1, 2) .. "x"] or codes[sub(text, 1, 1) .. "xx"])
            and true or false
    pool.failing[status] = known
    return known
end


-- May the request be sent again, after bytes of it were sent?
local function may_repeat(pool, client, params)
    return client:body_replayable()
           and (IDEMPOTENT[upper(params.method or "GET")] or pool.retry_non_idempotent)
end


-- One exchange with one host, on a pooled connection or a fresh one: client,
-- res, err, stage. Without a client the connect failed, which has been dealt
-- with; at stage "phase" no other will do either.
local function exchange(self, pool, host, params)
    local sock, err, hopeless = open(self, pool, host)
    if not sock then
        return nil, nil, err, hopeless and "phase"
    end
    emit(self, "host_connect", pool, host)
    local client = wrap(sock, host.authority)
    if not pool.tickets then
        return client, client:request(params)
    end
    local res, stage
    res, err, stage = client:request(params)
    ticket_answered(self, not res and stage ~= "request")
    return client, res, err, stage
end


-- An answer that counts as a failure is kept until a better one comes: the
-- caller gets the last of them when there is none.
local function hold(self, run, pool, client, res, err)
    if run.client then
        run.client:close()
    end
    run.client, run.res, run.err = client, res, err
    self.client, self.pool = client, pool
end


-- A bad answer counts against its host only when another answers the same
-- request well: what all of them answer so is the request's fault.
local function suspect(run, pool, host, err)
    run.suspects = { pool = pool, host = host, err = err, before = run.suspects }
end


local function convict(self, run)
    local one = run.suspects
    run.suspects = nil
    while one do
        hold_against(self, one.pool, one.host, one.err)
        one = one.before
    end
end


local function answered(self, run, pool, host, client, res)
    if not is_failure(pool, res.status) then
        if run.client then
            run.client:close()
        end
        self.client, self.pool = client, pool
        if run.suspects then
            convict(self, run)
        end
        return true, res
    end
    local err = "status code " .. res.status
    hold(self, run, pool, client, res, err)
    suspect(run, pool, host, err)
    emit(self, "host_request_error", pool, host, err)
    if may_repeat(pool, client, run.params) then
        return false
    end
    return true, res, err
end


-- Into its keepalive pool, or closed where the pool keeps none.
local function keep(client, pool, timeout, size)
    timeout = timeout or pool.keepalive_timeout
    size = size or pool.keepalive_pool
    if size == 0 then
        return client:close()
    end
    return (client.set_keepalive or client.setkeepalive)(client, timeout, size)
end


local function request_failed(self, run, pool, host, client, err, stage)
    if stage == "request" then
        -- The arguments are at fault, and the connection was not touched.
        keep(client, pool)
        return true, nil, err
    end
    close_ticket(self)
    local repeatable = may_repeat(pool, client, run.params)
    client:close()
    if stage == "body" then
        return true, nil, err
    end
    failures.record(self.view.name, host)
    emit(self, "host_request_error", pool, host, err)
    if stage ~= "stale" then
        hold_against(self, pool, host, err)
    end
    if repeatable then
        return false
    end
    return true, nil, err
end


-- What an exchange came to: done, res, err as each_host() wants it. A stale
-- connection is replaced first.
local function settle(self, run, pool, host, client, res, err, stage)
    local params = run.params
    local replaced = 0
    while client and stage == "stale" and replaced < STALE_LIMIT
          and may_repeat(pool, client, params)
    do
        client:close()
        replaced = replaced + 1
        client, res, err, stage = exchange(self, pool, host, params)
    end
    if not client then
        return stage == "phase", nil, err
    end
    if res then
        return answered(self, run, pool, host, client, res)
    end
    return request_failed(self, run, pool, host, client, err, stage)
end


local function try_request(self, pool, host, run)
    return settle(self, run, pool, host, exchange(self, pool, host, run.params))
end


local function new_run(params)
    return { params = params, client = nil, res = nil, err = nil, suspects = nil }
end


local function request_all(self, run, seen_pool, seen_place)
    local res, err = each_host(self, try_request, run, seen_pool, seen_place)
    if not res and run.res then
        return run.res, run.err
    end
    return res, err
end


-- The first exchange did not simply succeed: look closer, go on.
local function go_on(self, params, pool, place, client, res, err, stage)
    local run = new_run(params)
    local done
    done, res, err = settle(self, run, pool, pool.hosts[place], client, res, err, stage)
    if done then
        return res, err
    end
    return request_all(self, run, pool, place)
end


--- Sends an HTTP request to a host, to the next where one fails and the request
--- may be repeated: always after a failed connect, else only an idempotent
--- method (or the pool's retry_non_idempotent) with a body that can be sent
--- again. Where every answer counts as a failure by `status_codes`, the last
--- one is returned, and beside it the error.
---@param params table as zedcup.http's request()
---@return table|nil res status, reason, headers, has_body, body_reader, read_body, …
---@return string|nil err
function _M:request(params)
    if type(params) ~= "table" then
        return nil, "params: expected a table, got " .. type(params)
    end
    local view = self.view
    local pool = view.first_pool
    if params.key ~= nil then
        local key, err = _M.key_of(params)
        if err then
            return nil, err
        end
        self.key = key
    end
    if not pool or failures.recorded(view.name) then
        return request_all(self, new_run(params))
    end

    -- The way that nearly every request goes: no loop and no table, so that
    -- LuaJIT compiles it in one piece.
    local place = choose(self, pool, nil, 0)
    if place < 0 then
        return request_all(self, new_run(params))
    end
    local client, res, err, stage = exchange(self, pool, pool.hosts[place], params)
    if res and pool.failing[res.status] == false then
        self.client, self.pool = client, pool
        return res
    end
    return go_on(self, params, pool, place, client, res, err, stage)
end


-- ---- standing in for a lua-resty-http object --------------------------------

local function no_client()
    return nil, "not connected"
end


local function is_count(value)
    return type(value) == "number" and value >= 1 and value <= MAX_INT
end


local function bad_timeout(value)
    if value ~= nil and not is_count(value) then
        return "bad timeout: expected milliseconds, got " .. tostring(value)
    end
end


--- Overrides the pools' read_timeout, in milliseconds, from the next connection
--- on and for the one that is open.
---@param ms number
---@return boolean|nil ok
---@return string|nil err
function _M:set_timeout(ms)
    if ms == nil then
        return nil, "bad timeout: expected milliseconds, got nil"
    end
    return self:set_timeouts(nil, ms, ms)
end


--- Overrides the pools' timeouts; nil leaves theirs.
---@param connect number|nil milliseconds
---@param send number|nil
---@param read number|nil
---@return boolean|nil ok
---@return string|nil err
function _M:set_timeouts(connect, send, read)
    local err = bad_timeout(connect) or bad_timeout(send) or bad_timeout(read)
    if err then
        return nil, err
    end
    self.timeouts = { connect = connect, send = send, read = read }
    local client, pool = self.client, self.pool
    local set = client and (client.set_timeouts or client.settimeouts)
    if set then
        set(client, connect or pool.timeout, send or pool.read_timeout,
            read or pool.read_timeout)
    end
    return true
end


--- Puts the connection into the pool of its host.
---@param timeout number|nil milliseconds; the pool's keepalive_timeout
---@param size number|nil connections, 0 to close; the pool's keepalive_pool
function _M:set_keepalive(timeout, size)
    local err = timeout ~= 0 and bad_timeout(timeout)
    if err then
        return nil, err
    end
    if size ~= nil and size ~= 0 and not is_count(size) then
        return nil, "bad pool size: expected connections, got " .. tostring(size)
    end
    local client = self.client
    if not client then
        return no_client()
    end
    if not client.set_keepalive and not client.setkeepalive then
        return nil, "the client driver has no set_keepalive"
    end
    self.client = nil
    close_ticket(self)
    return keep(client, self.pool, timeout, size)
end


--- How often the connection had been used before; 0 for a fresh one.
function _M:get_reused_times()
    local client = self.client
    if not client then
        return no_client()
    end
    local times = client.get_reused_times or client.getreusedtimes
    if not times then
        return nil, "the client driver has no get_reused_times"
    end
    return times(client)
end


function _M:close()
    local client = self.client
    if not client then
        return no_client()
    end
    self.client = nil
    close_ticket(self)
    if not client.close then
        return nil, "the client driver has no close"
    end
    return client:close()
end


_M.state = host_state.state
_M.incr_host_error_count = host_state.incr_host_error_count
_M.reset_host_error_count = host_state.reset_host_error_count
_M.set_host_last_check = host_state.set_host_last_check
_M.set_host_down = host_state.set_host_down
_M.set_host_up = host_state.set_host_up
_M.get_client_body_reader = proxy.get_client_body_reader
_M.proxy_request = proxy.proxy_request


--- Answers the current request with an answer of request().
---@param res table
---@param chunk_size number|nil bytes of the body at a time
---@return boolean|nil ok
---@return string|nil err
function _M:proxy_response(res, chunk_size)
    if type(res) ~= "table" or type(res.status) ~= "number" then
        return nil, "res: expected an answer of request()"
    end
    return proxy.proxy_response(self, res, chunk_size)
end


return _M
