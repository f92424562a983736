# Starting zedcup: init() and its options, run_workers(), what the functions say
# before that, with wrong arguments, and in phases that cannot wait.
use lib 't/lib';
use ZedcupTest 'no_plan';
use ZedcupStore;

run_tests();

__DATA__

=== TEST 1: init() is true, initted() tells, run_workers() returns nil
--- http_config
init_by_lua_block {
    local zedcup = require("zedcup")
    before = tostring(zedcup.initted())
    result = { zedcup.init($TEST_NGINX_OPTIONS) }
    after = tostring(zedcup.initted())
    require("zedcup_fixture").setup({ ports = {} })
}
init_worker_by_lua_block {
    started = { n = select("#", require("zedcup").run_workers()), require("zedcup").run_workers() }
}
--- lua
f.say(before, result[1], result[2], after, started[1], started[2])
f.say(f.show(zedcup.instance_list()), zedcup.initted())
--- response_body
false true nil true nil nil
{} true



=== TEST 2: init() without options follows Consul on its usual port
--- store: none
--- lua
f.say(zedcup.init())
f.say(zedcup.init({}))
f.say(zedcup.init({ consul = {} }))
f.say(zedcup.initted())
--- response_body
true
true
true
true



=== TEST 3: a missing dictionary is false and its name
--- store: none
--- http_config
lua_shared_dict other_cache 1m;
--- lua
for _, role in ipairs({ "cache", "locks", "ipc" }) do
    f.say(zedcup.init({ dicts = { [role] = "nowhere" } }))
end
f.say(zedcup.initted())
f.say(zedcup.init({ dicts = { cache = "other_cache" } }))
--- response_body
false cache dictionary not found: nowhere
false locks dictionary not found: nowhere
false ipc dictionary not found: nowhere
false
true



=== TEST 4: the default dictionaries are missing
--- store: none
--- http_config
# no zedcup_cache, no zedcup_locks, no zedcup_ipc
init_by_lua_block { result = { require("zedcup").init({ embedded = { path = "/nowhere/x" } }) } }
--- config
location = /t {
    content_by_lua_block { ngx.say(tostring(result[1]), " ", (result[2]:gsub("cache", "DICT"):gsub("locks", "DICT"):gsub("ipc", "DICT"))) }
}
--- response_body
false DICT dictionary not found: zedcup_DICT



=== TEST 5: bad options are named by their key
--- store: none
--- lua
local function try(opts)
    f.say(zedcup.init(opts))
end
try("zedcup")
try(5)
try({ prefix = 5 })
try({ prefix = "" })
try({ prefix = "/" })
try({ prefix = "a//b" })
try({ prefix = "a b" })
try({ consul = "127.0.0.1" })
try({ embedded = true })
try({ embedded = {} })
try({ embedded = { path = 5 } })
try({ embedded = { path = "" } })
try({ embedded = { path = "relative.db" } })
try({ consul = {}, embedded = { path = "/x" } })
try({ dicts = "zedcup_cache" })
try({ dicts = { cache = 5 } })
try({ dicts = { ipc = false } })
try({ consul = { port = 0 } })
try({ consul = { port = "abc" } })
try({ consul = { port = 65536 } })
try({ consul = { port = 85.5 } })
try({ consul = { port = 0/0 } })
try({ consul = { host = "" } })
try({ consul = { host = {} } })
try({ consul = { host = print } })
try({ consul = { ssl = "yes" } })
try({ consul = { connect_timeout = -1 } })
try({ consul = { read_timeout = "soon" } })
try({ consul = { addresses = {} } })
try({ consul = { addresses = { "a:1", "b:x" } } })
try({ consul = { token = "a\r\nb" } })
try({ consul = { client_cert = "/c.pem" } })
try({ consul = { max_txn_ops = 1 } })
f.say(zedcup.initted())
--- response_body
nil expected a table of options, got string
nil expected a table of options, got number
nil prefix: expected a string, got number
nil prefix: expected printable path segments
nil prefix: expected printable path segments
nil prefix: expected printable path segments
nil prefix: expected printable path segments
nil consul: expected a table, got string
nil embedded: expected a table, got boolean
nil embedded.path: expected an absolute path
nil embedded.path: expected an absolute path
nil embedded.path: expected an absolute path
nil embedded.path: expected an absolute path
nil consul, embedded: only one store at a time
nil dicts: expected a table, got string
nil dicts.cache: expected a string, got number
nil dicts.ipc: expected a string, got boolean
nil consul.port: expected 1..65535, got 0
nil consul.port: expected 1..65535, got "abc"
nil consul.port: expected 1..65535, got 65536
nil consul.port: expected 1..65535, got 85.5
nil consul.port: expected a finite number
nil consul.host: expected a name or an address, got ""
nil consul.host: expected text, got {}
nil consul.host: expected a string, number, boolean or table, got a function
nil consul.ssl: expected true or false, got "yes"
nil consul.connect_timeout: expected 1..3600000, got -1
nil consul.read_timeout: expected 1..3600000, got "soon"
nil consul.addresses: expected a list of "host:port", got {}
nil consul.addresses[2]: expected "host:port", got "b:x"
nil consul.token: expected text, got "a\r\nb"
nil consul.client_cert: expected together with client_key
nil consul.max_txn_ops: expected 4..4096, got 1
false



=== TEST 6: good options in their several forms; unknown ones are logged
--- store: none
--- lua
local function try(opts)
    f.say(zedcup.init(opts))
end
try({ prefix = "/a/b/", consul = { port = "8501", host = "[::1]" } })
try({ consul = { addresses = { "10.0.0.1:8500", "[::1]:8501", "consul.example" } } })
try({ consul = { default_args = { token = "t", dc = "d", wait = 1 }, stale = true } })
try({ consul = { colour = "blue" } })
try({ embedded = { path = "/x", size = 1 } })
--- response_body
true
true
true
true
true
--- error_log
consul.colour: unknown option
consul.default_args.wait: not used here
embedded.size: unknown option
--- no_error_log
[error]



=== TEST 7: before init() every function says what is missing
--- store: none
--- lua
local function say(...) f.say(...) end
say(zedcup.run_workers())
say(zedcup.config())
say(zedcup.configure({}))
say(zedcup.configure_instance("web", {}))
say(zedcup.remove_instance("web"))
say(zedcup.instance_list())
say(zedcup.create_handler("web"))
say(zedcup.bind("host_up", function() end))
--- response_body
nil zedcup is not initialised: call init() first
nil zedcup is not initialised: call init() first
nil zedcup is not initialised: call init() first
nil zedcup is not initialised: call init() first
nil zedcup is not initialised: call init() first
nil zedcup is not initialised: call init() first
nil zedcup is not initialised: call init() first
true
--- error_log
zedcup: cannot run: zedcup is not initialised: call init() first



=== TEST 8: before run_workers() every function says what is missing
--- http_config
init_worker_by_lua_block { }
--- lua
local function say(...) f.say(...) end
say(zedcup.config())
say(zedcup.configure({}))
say(zedcup.configure_instance("web", {}))
say(zedcup.remove_instance("web"))
say(zedcup.instance_list())
say(zedcup.create_handler("web"))
--- response_body
nil zedcup is not running in this worker: call run_workers()
nil zedcup is not running in this worker: call run_workers()
nil zedcup is not running in this worker: call run_workers()
nil zedcup is not running in this worker: call run_workers()
nil zedcup is not running in this worker: call run_workers()
nil zedcup is not running in this worker: call run_workers()



=== TEST 9: arguments of the wrong type give nil and a text, and nothing raises
--- lua
f.configure("web", {})
local handler = assert(zedcup.create_handler("web"))
local wrong = { n = 9, nil, true, 5, "", "x", {}, print, ngx.null,
                coroutine.create(function() end) }
local calls = {
    configure = function(v) return zedcup.configure(v) end,
    instance_name = function(v) return zedcup.configure_instance(v, {}) end,
    instance_config = function(v) return zedcup.configure_instance("new", v) end,
    remove_instance = function(v) return zedcup.remove_instance(v) end,
    create_handler = function(v) return zedcup.create_handler(v) end,
    bind_event = function(v) return zedcup.bind(v, print) end,
    bind_callback = function(v) return zedcup.bind("host_connect", v) end,
    handler_bind_event = function(v) return handler:bind(v, print) end,
    handler_bind_callback = function(v) return handler:bind("host_connect", v) end,
    connect = function(v) return handler:connect(v) end,
    request = function(v) return handler:request(v) end,
    set_timeout = function(v) return handler:set_timeout(v) end,
    set_timeouts = function(v) return handler:set_timeouts(v, v, v) end,
    set_keepalive = function(v) return handler:set_keepalive(v, v) end,
    get_reused_times = function(v) return handler:get_reused_times(v) end,
    close = function(v) return handler:close(v) end,
    get_client_body_reader = function(v) return handler:get_client_body_reader(v) end,
    proxy_request = function(v) return handler:proxy_request(v) end,
    proxy_response = function(v) return handler:proxy_response(v) end,
}
local names = {}
for name in pairs(calls) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs(names) do
    local accepted = {}
    for i = 1, wrong.n do
        local called, ok, err = pcall(calls[name], wrong[i])
        if not called then
            ngx.say(name, "(", f.show(wrong[i]), ") raises: ", ok)
        elseif ok then
            accepted[#accepted + 1] = f.show(wrong[i])
        elseif type(err) ~= "string" and not (name == "get_client_body_reader") then
            ngx.say(name, "(", f.show(wrong[i]), ") has no text: ", type(err))
        end
    end
    table.insert(accepted, 1, name .. ":")
    f.say((table.concat(accepted, " "):gsub("function: .*", "function")))
end
f.say(f.show(zedcup.instance_list()))
--- response_body
bind_callback: function
bind_event:
close:
configure: {}
connect:
create_handler:
get_client_body_reader:
get_reused_times:
handler_bind_callback: function
handler_bind_event:
instance_config: {}
instance_name: "x"
proxy_request:
proxy_response:
remove_instance: "x"
request:
set_keepalive:
set_timeout: 5
set_timeouts: nil 5
{"new","web",new=true,web=true}



=== TEST 10: names that no instance can have
--- lua
for _, name in ipairs({ "a/b", "_x", ".", "..", "a\nb", "\228", ("x"):rep(129), "\0" }) do
    local ok, err = zedcup.configure_instance(name, {})
    f.say(ok, err)
    f.say(zedcup.remove_instance(name))
    ok, err = zedcup.create_handler(name)
    f.say(ok, (err:gsub("[%c\128-\255]", "?"):gsub("x+", "x")))
end
f.say(f.show(zedcup.instance_list()))
--- response_body
nil instance name: an instance name is printable ASCII without "/"
nil instance name: an instance name is printable ASCII without "/"
nil no such instance: a/b
nil instance name: an instance name must not begin with "_"
nil instance name: an instance name must not begin with "_"
nil no such instance: _x
nil instance name: an instance name must not be "." or ".."
nil instance name: an instance name must not be "." or ".."
nil no such instance: .
nil instance name: an instance name must not be "." or ".."
nil instance name: an instance name must not be "." or ".."
nil no such instance: ..
nil instance name: an instance name is printable ASCII without "/"
nil instance name: an instance name is printable ASCII without "/"
nil no such instance: a?b
nil instance name: an instance name is printable ASCII without "/"
nil instance name: an instance name is printable ASCII without "/"
nil no such instance: ?
nil instance name: an instance name has at most 128 bytes
nil instance name: an instance name has at most 128 bytes
nil no such instance: x
nil instance name: an instance name is printable ASCII without "/"
nil instance name: an instance name is printable ASCII without "/"
nil no such instance: ?
{}



=== TEST 11: without the module the error says what to add
--- store: none
--- http_config
init_by_lua_block {
    -- as if load_module were missing: nothing of that name is exported
    local ffi = require("ffi")
    local C = ffi.C
    package.loaded.ffi = setmetatable({ C = setmetatable({}, { __index = function(_, name)
        if name:find("^zedcup_ffi_") then
            return C["no_such_" .. name]
        end
        return C[name]
    end }) }, { __index = ffi })
    require("zedcup.ffi")
    package.loaded.ffi = ffi
    require("zedcup_fixture").setup({ ports = {} })
}
init_worker_by_lua_block { started = { require("zedcup").run_workers() } }
--- lua
f.say(zedcup.init())
f.say(zedcup.initted(), unpack(started, 1, 2))
f.say(zedcup.create_handler("web"))
--- response_body
nil the nginx module is not loaded: add load_module ".../ngx_http_zedcup_module.so";
false nil zedcup is not initialised: call init() first
nil zedcup is not initialised: call init() first
--- error_log
cannot run



=== TEST 12: a module of another version is told so
--- store: none
--- http_config
init_by_lua_block {
    require("zedcup_fixture").setup({ ports = {} })
    -- these files, one version later
    local path = package.searchpath("zedcup.ffi", package.path)
    local source = assert(io.open(path)):read("*a")
    local other, count = source:gsub("local ABI = (%d+)", function(n) return "local ABI = " .. n + 1 end)
    assert(count == 1)
    package.loaded["zedcup.ffi"] = assert(loadstring(other, "@ffi.lua"))()
}
--- lua
local ok, err = zedcup.init()
f.say(ok, (err:gsub("%d+", "N")))
f.say(zedcup.initted())
--- response_body
nil the nginx module speaks version N of the interface, these Lua files version N: install both from one release
false



=== TEST 13: init() in a later phase serves as well
--- store: none
--- http_config
init_worker_by_lua_block {
    init_result = { require("zedcup").init($TEST_NGINX_OPTIONS) }
    require("zedcup").run_workers()
}
--- backends: 1
--- lua
f.say(unpack(init_result))
f.configure("web", f.hosts(1))
f.say(f.ask(zedcup.create_handler("web")))
--- response_body
true
b1 200 nil



=== TEST 14: init() twice: the second one counts until the workers run
--- store: none
--- http_config
init_by_lua_block {
    require("zedcup_fixture").setup({ store = "embedded", ports = {}, prefix = "second",
                                      path = "$TEST_NGINX_STORE_PATH" })
    local zedcup = require("zedcup")
    assert(zedcup.init())
    assert(zedcup.init({ prefix = "second", embedded = { path = "$TEST_NGINX_STORE_PATH" } }))
    refused = { zedcup.init({ prefix = 5 }) }
}
init_worker_by_lua_block { require("zedcup").run_workers() }
--- lua
f.say(unpack(refused, 1, 2))
assert(zedcup.configure_instance("web", { pools = { { up = false } } }))
f.say_stored()
--- response_body
nil prefix: expected a string, got number
instances/web/pools/1/up = false



=== TEST 15: run_workers() twice starts one runtime
--- http_config
init_worker_by_lua_block {
    require("zedcup").run_workers()
    again = { n = select("#", require("zedcup").run_workers()), require("zedcup").run_workers() }
}
--- backends: 1
--- lua
f.say(again[1], again[2])
f.configure("web", f.hosts(1))
f.configure("web", f.hosts(1))
f.say(f.ask(zedcup.create_handler("web")))
--- response_body
nil nil
b1 200 nil



=== TEST 16: create_handler() works in phases that cannot wait once there is content
--- backends: 1
--- config
location = /phases {
    set_by_lua_block $in_set {
        local h, err = require("zedcup").create_handler("web")
        return h and #h:config().pools or err
    }
    header_filter_by_lua_block {
        local h, err = require("zedcup").create_handler("web")
        ngx.header["X-Filter"] = h and #h:config().pools or err
        ngx.header["X-List"] = #require("zedcup").instance_list()
        ngx.header["X-Config"] = require("zedcup").config().session_ttl
        local ok
        ok, err = require("zedcup").configure({ session_ttl = 5 })
        ngx.header["X-Write"] = tostring(ok) .. " " .. err
        ngx.header["X-None"] = select(2, require("zedcup").create_handler("none"))
    }
    content_by_lua_block { ngx.say(ngx.var.in_set) }
    log_by_lua_block {
        local h = require("zedcup").create_handler("web")
        local res, err = h:request({})
        ngx.log(ngx.NOTICE, "in log: ", tostring(res), " ", err)
    }
}
--- lua
f.configure("web", f.hosts(1))
local res = ngx.location.capture("/phases")
local http = require("zedcup.http").new()
res = http:request_uri("http://127.0.0.1:" .. ngx.var.server_port .. "/phases")
ngx.print(res.body)
for _, name in ipairs({ "X-Filter", "X-List", "X-Config", "X-None", "X-Write" }) do
    ngx.say(res.headers[name])
end
--- response_body_like
^1
1
1
30
no such instance: none
nil cannot wait in this phase: API disabled in the context of header_filter_by_lua\*$
--- error_log
in log: nil API disabled in the context of log_by_lua*
--- no_error_log
[error]



=== TEST 17: in a phase that cannot wait, before the first content: nil and why
--- store: consul
--- http_config
init_by_lua_block {
    require("zedcup_fixture").setup({ ports = {} })
    -- nobody listens there
    assert(require("zedcup").init({ consul = { host = "127.0.0.1", port = $TEST_NGINX_CLOSED_PORT } }))
}
init_worker_by_lua_block {
    local zedcup = require("zedcup")
    zedcup.run_workers()
    early = { zedcup.create_handler("web") }
    early_list = { zedcup.instance_list() }
    early_config = { zedcup.config() }
    early_write = { zedcup.configure_instance("web", {}) }
}
--- lua
for _, result in ipairs({ early, early_list, early_config, early_write }) do
    f.say(result[1], (result[2]:gsub("%(API.*", "(…")))
end
--- response_body_like
^(?:nil cannot wait in this phase: API disabled in the context of init_worker_by_lua\*\n?){4}$
