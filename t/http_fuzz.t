# The parser under hostile input: whatever comes, in whatever pieces, it answers
# with a result or an error, never raises and never loops.
use lib 't/lib';
use ZedcupTest 'no_plan';

run_tests();

__DATA__

=== TEST 1: an answer cut in two at any byte, or into single bytes, reads the same
--- config
location = /t {
    content_by_lua_block {
        local corpus = require("http_corpus")
        local describe = require("http_fixture").describe
        local cuts, bad = 0, 0
        local function same(want, text, ...)
            cuts = cuts + 1
            local got = describe("GET", nil, ...)
            -- what is quoted depends on how much had come
            if got:gsub(': ".*', "") ~= want:gsub(': ".*', "") then
                bad = bad + 1
                ngx.say(require("http_fixture").show(text), ": ", got, " not ", want)
            end
        end
        for _, text in ipairs(corpus.answers) do
            local want = describe("GET", nil, text)
            for i = 1, #text - 1 do
                same(want, text, text:sub(1, i), text:sub(i + 1))
            end
            local bytes = {}
            for i = 1, #text do bytes[i] = text:sub(i, i) end
            same(want, text, unpack(bytes))
        end
        ngx.say(cuts > 1500 or cuts, " ", bad)
    }
}
--- response_body
true 0
--- no_error_log
[error]
--- timeout: 20



=== TEST 2: thousands of mutated answers end in a result or an error
--- config
location = /t {
    content_by_lua_block {
        local corpus = require("http_corpus")
        local fake_sock = require("fake_sock")
        local http = require("zedcup.http")
        local seed = 20240229
        local function random(n) -- deterministic, whatever the platform
            seed = (seed * 16807) % 2147483647
            return seed % n + 1
        end
        local METHODS = { "GET", "HEAD", "POST", "CONNECT" }

        local raised, endless, odd, good, refused = 0, 0, 0, 0, 0
        local function run(text)
            local pieces = {}
            while text ~= "" do
                local n = random(random(2) == 1 and 3 or #text)
                pieces[#pieces + 1] = text:sub(1, n)
                text = text:sub(n + 1)
            end
            local c = http.wrap(fake_sock.new(pieces), "h")
            c:set_limits(4096, 32)
            local res, err = c:request({ method = METHODS[random(4)] })
            if not res then
                if type(err) ~= "string" then odd = odd + 1 end
                refused = refused + 1
                return
            end
            local max = random(2) == 1 and random(9) or nil
            local read, n = res.body_reader, 0
            local piece
            repeat
                piece, err = read(max)
                n = n + 1
                if piece == "" then odd = odd + 1 end
            until not piece or n > 10000
            if n > 10000 then endless = endless + 1 end
            for name, value in pairs(res.headers) do
                if type(name) ~= "string" or not value then odd = odd + 1 end
            end
            if not err then good = good + 1 end
            local _ = res.headers["x-any"], res:read_trailers()
            c:set_keepalive()
        end
        for i = 1, 20000 do
            local ok, err = pcall(run, corpus.mutate(random))
            if not ok then
                raised = raised + 1
                ngx.say(err)
                if raised > 5 then break end
            end
        end
        ngx.say(raised, " ", endless, " ", odd, " ", good > 2000, " ", refused > 2000)
    }
}
--- response_body
0 0 0 true true
--- no_error_log
[error]
--- timeout: 20



=== TEST 3: a header that trickles in byte by byte costs no more than its share
--- config
location = /t {
    content_by_lua_block {
        local fixture = require("http_fixture")
        local text = "HTTP/1.1 200 OK\r\n" .. ("A: b\r\n"):rep(200)
            .. "B: " .. ("x"):rep(20000) .. "\r\n\r\n"
        local c, sock = fixture.client()
        local i = 0
        sock.receiveany = function()
            i = i + 1
            if i > #text then return nil, "closed" end
            return text:sub(i, i)
        end
        ngx.update_time()
        local start = ngx.now()
        local res = c:request({})
        ngx.update_time()
        ngx.say(res.status, " ", #res.headers.b, " ", ngx.now() - start < 2)
    }
}
--- response_body
200 20000 true
--- no_error_log
[error]
--- timeout: 20



=== TEST 4: damaged answers of a real server: whole, cut anywhere or byte by byte, the verdict is one
--- http_config
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    gzip on;
    gzip_min_length 1;
    gzip_types text/plain;
    log_not_found off;
    root $TEST_NGINX_CERT_DIR;
    location = /pieces {
        content_by_lua_block {
            for i = 1, 5 do ngx.say(("piece "):rep(i)) ngx.flush(true) end
        }
    }
    location = /headers {
        content_by_lua_block {
            ngx.header["Set-Cookie"] = { "a=1; Path=/", "b=2", "c=" }
            ngx.header["X-Empty"] = ""
            ngx.header["X-Long"] = ("long "):rep(60)
            ngx.header.content_length = 4
            ngx.print("body")
        }
    }
    location = /moved { return 301 /elsewhere; }
    location = /nothing { return 204; }
    location = /hints {
        content_by_lua_block {
            require("raw_server").serve({ "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
                .. "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
                .. "3;q=\"a;b\"\r\nabc\r\n0\r\nX-T: end\r\n\r\n" })
        }
    }
}
--- config
location = /t {
    content_by_lua_block {
        local describe = require("http_fixture").describe
        local mutate = require("http_corpus").mutate
        local file = assert(io.open("$TEST_NGINX_CERT_DIR/file.txt", "w"))
        file:write(("0123456789"):rep(30))
        file:close()

        local function fetch(head)
            local sock = ngx.socket.tcp()
            assert(sock:connect("127.0.0.1", $TEST_NGINX_BACKEND_PORT))
            assert(sock:send(head .. "Connection: close\r\n\r\n"))
            return assert(sock:receive("*a"))
        end
        local answers = {}
        for _, path in ipairs({ "/pieces", "/headers", "/moved", "/nothing", "/hints", "/file.txt", "/none" }) do
            for _, version in ipairs({ "1.1", "1.0" }) do
                local head = "GET " .. path .. " HTTP/" .. version .. "\r\nHost: x\r\n"
                answers[#answers + 1] = fetch(head)
                answers[#answers + 1] = fetch(head .. "Accept-Encoding: gzip\r\n")
            end
        end
        answers[#answers + 1] = fetch("GET /file.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=5-9,20-25\r\n")
        answers[#answers + 1] = fetch("GET /file.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=999-\r\n")
        answers[#answers + 1] = fetch("HEAD /file.txt HTTP/1.1\r\nHost: x\r\n")
        answers[#answers + 1] = fetch("GET /file.txt HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n")
        answers[#answers + 1] = fetch("BAD\r\n")

        local seed = tonumber(os.getenv("ZEDCUP_FUZZ_SEED")) or ngx.now() * 1000 % 2147483646 + 1
        local function random(n)
            seed = (seed * 16807) % 2147483647
            return seed % n + 1
        end
        local function verdict(method, ...)
            local ok, got = pcall(describe, method, nil, ...)
            return ok, (got:gsub(': ".*', "")) -- what is quoted depends on how much had come
        end
        local METHODS = { "GET", "GET", "HEAD", "CONNECT" }

        ngx.update_time()
        local stop, runs, different = ngx.now() + 4, 0, 0
        while runs < 3000 and ngx.now() < stop do
            local began = seed
            local text, method = mutate(random, answers), METHODS[random(4)]
            if text == "" then text = "\r" end
            local bytes, cut = {}, random(math.max(#text - 1, 1))
            for i = 1, #text do bytes[i] = text:sub(i, i) end
            local ok, want = verdict(method, text)
            local ok2, slow = verdict(method, unpack(bytes))
            local ok3, halves = verdict(method, text:sub(1, cut), cut < #text and text:sub(cut + 1) or nil)
            if not (ok and ok2 and ok3) or want ~= slow or want ~= halves then
                different = different + 1
                if different < 5 then
                    ngx.log(ngx.ERR, "ZEDCUP_FUZZ_SEED=", began, " ", method, " whole: ", want,
                            " bytes: ", slow, " cut at ", cut, ": ", halves)
                end
            end
            runs = runs + 1
            ngx.update_time()
        end
        ngx.log(ngx.WARN, "fuzz: ", runs, " runs, the seed after them ", seed)
        ngx.say(runs > 200 or runs, " ", different)
    }
}
--- response_body
true 0
--- no_error_log
[error]
--- timeout: 20
