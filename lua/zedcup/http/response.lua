--- Reads the head of an answer: its status line and header lines. Pure
--- functions over strings; no I/O.
--
-- One pass checks every line and notes what decides the framing; the header
-- table itself is built on first use, because a load balancer that looks at
-- status and body never needs it. Whether a text is accepted does not depend
-- on the pieces it arrives in. RFC 9112 is the authority for every rule.

local framing = require("zedcup.http.framing")
local headers = require("zedcup.http.headers")
local names = require("zedcup.http.names")

local FRAMING_NOTES = framing.notes
local byte = string.byte
local decide = framing.decide
local find = string.find
local folded = names.folded
local format = string.format
local gsub = string.gsub
local reset = framing.reset
local sub = string.sub
local trim = headers.trim

local TAB, LF, CR, SPACE = 9, 10, 13, 32
local ZERO, NINE = 48, 57

local INCOMPLETE = "incomplete"
local FOLDED = "folded"
local TOO_LARGE = "header too large"

local _M = {
    ---The error of a text that is the start of a head, but not all of it.
    INCOMPLETE = INCOMPLETE,
}

---@class zedcup.http.limits
---@field header_bytes integer of a head or a trailer section
---@field header_lines integer in one of them


-- Text from the network, made fit for a log line.
local function quote(text)
    return '"' .. gsub(sub(text, 1, 40), "[%c\"\\\128-\255]", function(c)
        return format("\\x%02x", byte(c))
    end) .. '"'
end


-- The end of a line without its line ending.
local function line_end(buf, pos, eol)
    if eol > pos and byte(buf, eol - 1) == CR then
        return eol - 2
    end
    return eol - 1
end


local function check_line(buf, pos, last, notes)
    local cr = find(buf, "\r", pos, true)
    if cr and cr <= last then
        return "bad header line: a carriage return inside"
    end
    local colon = find(buf, ":", pos, true)
    if not colon or colon > last then
        return "bad header line: " .. quote(sub(buf, pos, last))
    end
    local name = folded[sub(buf, pos, colon - 1)]
    if not name then
        return "bad header name: " .. quote(sub(buf, pos, colon - 1))
    end
    local note = notes[name]
    if note then
        return note(buf, trim(buf, colon + 1, last))
    end
end


-- Checks header lines up to the blank one. Returns where that one starts and
-- the position after it; or nil and an error, FOLDED at the first line that is
-- continued on the next. `bound` is the first position beyond the limit.
local function scan_lines(buf, pos, bound, lines_left, notes)
    local eol = find(buf, "\n", pos, true)
    if (eol or #buf) >= bound then
        return nil, TOO_LARGE
    end
    if not eol then
        return nil, INCOMPLETE
    end
    local last = line_end(buf, pos, eol)
    if last < pos then
        return pos, eol + 1
    end
    if lines_left == 0 then
        return nil, "too many header lines"
    end

    local next_byte = byte(buf, eol + 1)
    if not next_byte then
        return nil, INCOMPLETE
    elseif next_byte == SPACE or next_byte == TAB then
        return nil, FOLDED
    end
    local err = check_line(buf, pos, last, notes)
    if err then
        return nil, err
    end
    return scan_lines(buf, eol + 1, bound, lines_left - 1, notes)
end


-- The end of the header block that starts at `pos`, blank line included.
local function block_end(buf, pos)
    local _, crlf = find(buf, "\n\r\n", pos, true)
    local _, lf = find(buf, "\n\n", pos, true)
    if crlf and lf then
        return crlf < lf and crlf or lf
    end
    return crlf or lf
end


-- Puts continued lines back on one (RFC 9112, 5.2); needs the whole block.
local function unfold(buf, pos, bound)
    local stop = block_end(buf, pos)
    if (stop or #buf) >= bound then
        return nil, TOO_LARGE
    end
    if not stop then
        return nil, INCOMPLETE
    end
    return gsub(sub(buf, pos, stop), "\r?\n[ \t]+", " "), stop + 1
end


---Checks a block of header lines, up to and including its blank line, and
---notes on `head` where they are.
---@param head table      gets `fields`, `fields_from`, `fields_to`
---@param buf string
---@param pos integer     where the first line starts
---@param bound integer   the first position beyond the limit of bytes
---@param limits zedcup.http.limits
---@param notes table     functions for the values of some headers, by name
---@return integer|nil next_pos where the block has ended
---@return string|nil err       INCOMPLETE when more bytes may complete it
local function scan_fields(head, buf, pos, bound, limits, notes)
    reset()
    local text, from = buf, pos
    local blank, next_pos = scan_lines(buf, pos, bound, limits.header_lines,
                                       notes)
    if next_pos == FOLDED then
        local after
        text, after = unfold(buf, pos, bound)
        if not text then
            return nil, after
        end
        reset()
        from = 1
        blank, next_pos = scan_lines(text, 1, #text + 1, limits.header_lines,
                                     notes)
        next_pos = blank and after or next_pos
    end
    if not blank then
        return nil, next_pos
    end

    local nul = find(text, "\0", from, true)
    if nul and nul < blank then
        return nil, "bad header line: a NUL inside"
    end
    head.fields, head.fields_from, head.fields_to = text, from, blank
    return next_pos
end


local VERSIONS = { ["HTTP/1.1 "] = 1.1, ["HTTP/1.0 "] = 1.0 }


-- The three digits of a status and the byte after them.
local function parse_code(a, b, c, after)
    if c and a > ZERO and a <= NINE and b >= ZERO and b <= NINE and c >= ZERO
        and c <= NINE and (after == SPACE or after == CR or after == LF)
    then
        return a * 100 + b * 10 + c - ZERO * 111
    end
end


local function parse_status_line(buf, pos, eol)
    local version = VERSIONS[sub(buf, pos, pos + 8)]
    local status = parse_code(byte(buf, pos + 9, pos + 12))
    local reason = sub(buf, pos + 13, line_end(buf, pos, eol))
    if not version or not status or find(reason, "\r", 1, true)
        or find(reason, "\0", 1, true)
    then
        return nil, "bad status line: " .. quote(sub(buf, pos, eol - 1))
    end
    return status, version, reason
end


-- A head without a line feed yet. What cannot become a status line is refused
-- as soon as it shows: a server of another protocol may wait after its
-- greeting.
local function check_start(buf, pos, limits)
    local start = sub(buf, pos, pos + 6)
    if start ~= sub("HTTP/1.", 1, #start) and start ~= "\r" then
        return nil, "bad status line: " .. quote(sub(buf, pos, pos + 39))
    end
    return nil, #buf >= pos + limits.header_bytes and TOO_LARGE or INCOMPLETE
end


-- All fields at once, none of them nil, with room for those made later: a
-- table that grows costs more than everything else here.
local function new_head(status, version, reason)
    return {
        status = status, reason = reason, version = version,
        has_body = false, framing = "none", left = 0, done = false,
        keep_alive = false, conn = false,
        fields = "", fields_from = 0, fields_to = 0,
    }
end


local function frame(head, request)
    local kind, left, keep_alive = decide(head.status, head.version, request)
    local done = kind == "none" or (kind == "length" and left == 0)
    head.framing, head.left, head.keep_alive = kind, left, keep_alive
    head.done, head.has_body = done, not done
end


---Parses the head of an answer.
---@param buf string
---@param pos integer where it starts; one empty line before it is let by
---@param request { method: string, version: number, keep_alive: boolean }
---@param limits zedcup.http.limits
---@return table|nil head
---@return integer|string err the position after the head; or the error, which
---is INCOMPLETE when more bytes may complete the head
function _M.parse(buf, pos, request, limits)
    local eol = find(buf, "\n", pos, true)
    if eol and line_end(buf, pos, eol) < pos then
        pos = eol + 1
        eol = find(buf, "\n", pos, true)
    end
    if not eol then
        return check_start(buf, pos, limits)
    end
    local bound = pos + limits.header_bytes
    if eol >= bound and sub(buf, pos, pos + 6) == "HTTP/1." then
        return nil, TOO_LARGE
    end
    local status, version, reason = parse_status_line(buf, pos, eol)
    if not status then
        return nil, version
    end

    local head = new_head(status, version, reason)
    local next_pos, err = scan_fields(head, buf, eol + 1, bound, limits,
                                      FRAMING_NOTES)
    if not next_pos then
        return nil, err
    end
    frame(head, request)
    return head, next_pos
end


local NO_NOTES = {}


---Parses a trailer section.
---@param buf string
---@param pos integer where it starts
---@param limits zedcup.http.limits
---@return table|nil section  for headers()
---@return integer|string err the position after it; or the error
function _M.parse_trailers(buf, pos, limits)
    local section = {}
    local next_pos, err = scan_fields(section, buf, pos,
                                      pos + limits.header_bytes, limits,
                                      NO_NOTES)
    if not next_pos then
        return nil, err
    end
    return section, next_pos
end


---Builds the header table of what parse() or parse_trailers() accepted.
---@param head table
---@return table
function _M.headers(head)
    return headers.parse(head.fields, head.fields_from, head.fields_to)
end


return _M
