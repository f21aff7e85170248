-- Prints one line of figures at the end; walks the paths of a file when BENCH_PATHS names one, from
-- the BENCH_START-th on.
-- Without paths there is no request(): wrk then sends one request made beforehand, its fastest way.

local paths = os.getenv("BENCH_PATHS")

if paths then
  local requests, at = {}, tonumber(os.getenv("BENCH_START") or "0")

  function init(args)
    local made = {} -- a path that comes again shares its request: walks may be long
    for path in io.lines(paths) do
      made[path] = made[path] or wrk.format("GET", path)
      requests[#requests + 1] = made[path]
    end
  end

  function request()
    at = at % #requests + 1
    return requests[at]
  end
end

-- Clients that think: BENCH_THINK_MS on average, evenly from half of it to one and a half times.
local think = tonumber(os.getenv("BENCH_THINK_MS") or "0")

if think > 0 then
  function delay()
    return math.floor(think * (0.5 + math.random()))
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    'FIGURES {"requests": %d, "microseconds": %d, "bytes": %d, "p50_us": %d, "p95_us": %d, '
      .. '"p99_us": %d, "max_us": %d, "errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d, '
      .. '"status": %d}}',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50),
    latency:percentile(95), latency:percentile(99), latency.max, errors.connect, errors.read,
    errors.write, errors.timeout, errors.status))
end
