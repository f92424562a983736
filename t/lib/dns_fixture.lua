--- What the DNS server of DnsServer.pm answers, and what it was asked.

local _M = {}

local path


---@param file string $TEST_NGINX_DNS_FILE
function _M.setup(file)
    path = file
end


--- Answers by these lines from now on; see DnsServer.pm.
function _M.set(...)
    local out = assert(io.open(path .. ".new", "w"))
    out:write(table.concat({ ... }, "\n"), "\n")
    out:close()
    assert(os.rename(path .. ".new", path))
end


--- How often a name was asked for, A and AAAA together.
function _M.asked(name)
    local count = 0
    for line in io.lines(path .. ".asked") do
        if line:match("^%S+") == name then
            count = count + 1
        end
    end
    return count
end


return _M
