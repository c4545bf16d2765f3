-- Gives back what ended calls did not use, and takes what they used beyond it.
-- KEYS: buckets. ARGV: of each: rate, amount, end, gone, unused, more.
local now = now_ms()
for i = 1, #KEYS do
  local a = 6 * i - 6
  local used, gone = pass(KEYS[i], now)
  -- What has left the bucket since is counted as this lot's: never too much comes back.
  local left = math.max(0, tonumber(ARGV[a + 3]) - (gone - tonumber(ARGV[a + 4])) % GONE_MAX)
  local back = math.min(tonumber(ARGV[a + 5]), tonumber(ARGV[a + 2])) * UNITS
  back = math.min(back, left, used)
  used = used - back + tonumber(ARGV[a + 6]) * UNITS
  keep(KEYS[i], used, (gone + back) % GONE_MAX, now, tonumber(ARGV[a + 1]))
end
return #KEYS
