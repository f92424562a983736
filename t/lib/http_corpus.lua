--- Answers, good and bad, for tests that take them to pieces.

local _M = {}

local CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"

_M.answers = {
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    "HTTP/1.1 200 OK\nContent-Length: 5\nX-A: b\n\nhello",
    "\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
        .. "HTTP/1.1 204 No Content\r\nServer: s\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end",
    "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi",
    CHUNKED .. "\r\n5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\n\r\n",
    CHUNKED .. "Trailer: X-Sum\r\n\r\n1A\r\n" .. ("z"):rep(26)
        .. "\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n 3\r\n\r\n",
    CHUNKED .. "Content-Length: 7\r\n\r\n2\nhi\n0\n\n",
    CHUNKED .. "\r\n2\r\nhi\r\n0\r\n\r\nleft over",
    CHUNKED .. "\r\n2\r\nhiXX0\r\n\r\n",
    CHUNKED .. "\r\nzz\r\nhi\r\n",
    CHUNKED .. "\r\n2\r\nhi\r\n0\r\nbad\r\n\r\n",
    CHUNKED .. "\r\n5\r\nhel",
    "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
    "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\n\tc\r\nContent-Length:\r\n 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n"
        .. "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nConnection: x, Close ,y\r\nContent-Length: 2, 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nbad line\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: \"x\"\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: " .. ("v"):rep(300) .. "\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nbinary\0\r\n\r\n",
    "HTTP/3 200 OK\r\n\r\n",
    "220 smtp.example.com ESMTP\r\n",
    "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n\r\n",
}

-- What mutations put in: bytes and words that mean something to a parser.
local WORDS = {
    "\r\n", "\n", "\r", "\0", " ", "\t", ":", ";", ",", "0", "1", "f", "-",
    "\255", "\r\n\r\n", "\r\n ", "0\r\n\r\n", "HTTP/1.1 ", "HTTP/1.0 200\r\n",
    "Content-Length: 3\r\n", "Content-Length: 18446744073709551617\r\n",
    "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "ffffffffffffffff",
    "chunked", "close", "100", "204", "304", "999", ("a"):rep(300), ("\n"):rep(40),
}


---A text made from one or two answers by a few random changes.
---@param random fun(n: integer): integer 1..n
---@param answers? string[] instead of those above
---@return string
function _M.mutate(random, answers)
    answers = answers or _M.answers
    local text = answers[random(#answers)]
    for _ = 1, random(4) do
        local at, kind = random(#text + 1), random(5)
        local left, right = text:sub(1, at - 1), text:sub(at)
        if kind == 1 then
            text = left .. WORDS[random(#WORDS)] .. right
        elseif kind == 2 then
            text = left .. right:sub(1 + random(4))
        elseif kind == 3 then
            text = left
        elseif kind == 4 then
            text = left .. string.char(random(256) - 1) .. right:sub(2)
        else
            local other = answers[random(#answers)]
            text = left .. other:sub(random(#other))
        end
    end
    return text
end


return _M
