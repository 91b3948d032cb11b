-- What wrk sends: random cards, the body of one side around them, all from the environment.
-- At the end one line of JSON: latencies in ms, requests per second, failures.
local before, after = os.getenv("BENCH_BEFORE"), os.getenv("BENCH_AFTER")
local width, cards = tonumber(os.getenv("BENCH_WIDTH")), tonumber(os.getenv("BENCH_CARDS"))

math.randomseed(7)
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

request = function()
  local names = {}
  for i = 1, width do
    names[i] = string.format('"c%012x"', math.random(0, cards - 1))
  end
  return wrk.format(nil, nil, nil, before .. table.concat(names, ",") .. after)
end

done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests_per_s": %.1f, "p50_ms": %.4f, "p99_ms": %.4f, "p99.9_ms": %.4f, "requests": %d, "failures": %d}\n',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3, summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
