-- The script of every wrk run: wrk ... URL -- KIND METHOD [BODY_FILE]
--   plain: one request, repeated byte for byte (wrk builds it once, so the script costs nothing).
--   listed: one request for each target of the file, in turn. counted: a target that ends in another number each time.
--   fresh: a new session cookie and a new traceparent (W3C Trace Context) in every request, 8 headers in all.
-- `done` prints one line of numbers, so that nobody has to parse wrk's table.

-- Lists of random halves whose lengths share no factor: a pair of halves comes back after 16.7 million requests, and
-- making a request is one concatenation.
local FIRST, SECOND = 4099, 4093

local function halves(count)
   local list = {}
   for i = 1, count do
      list[i] = string.format("%08x%08x", math.random(0, 0x7fffffff), math.random(0, 0x7fffffff))
   end
   return list
end

local function fresh_requests()
   math.randomseed(os.time())
   local a, b, c = halves(FIRST), halves(SECOND), halves(SECOND)
   local whole = wrk.format()
   local head = whole:sub(1, -3) .. "Cookie: theme=dark; session="
   local middle, parent, tail = "\r\ntraceparent: 00-", "-", "-01\r\n\r\n"
   local i, j = 0, 0
   return function()
      i = i % FIRST + 1
      j = j % SECOND + 1
      local x, y = a[i], b[j]
      return head .. x .. y .. middle .. y .. x .. parent .. c[j] .. tail
   end
end

local function listed_requests(file)
   local requests, i = {}, 0
   for target in io.lines(file) do
      requests[#requests + 1] = wrk.format(nil, target)
   end
   return function()
      i = i % #requests + 1
      return requests[i]
   end
end

local function counted_requests()
   local path, whole = wrk.path, wrk.format()
   local first, last = whole:find(path, 1, true)
   local before, after, i = whole:sub(1, last), whole:sub(last + 1), 0
   return function()
      i = i + 1
      return before .. i .. after
   end
end

function init(args)
   wrk.method = args[2]
   if args[1] == "listed" then
      request = listed_requests(args[3])
      return
   end
   if args[3] then
      local file = assert(io.open(args[3], "rb"))
      wrk.body = file:read("*a")
      file:close()
   end
   if args[1] == "fresh" then
      request = fresh_requests()
   elseif args[1] == "counted" then
      request = counted_requests()
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      "NUMBERS %d %d %d %d %.1f %.1f %.1f %.1f\n", summary.requests, summary.duration, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50), latency:percentile(99), latency.max, latency.mean))
end
