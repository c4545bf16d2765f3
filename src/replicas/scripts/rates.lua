-- Takes what a call wants of every bucket, or nothing. Of a limit that only observes nothing is
-- taken where it has no room.
-- KEYS: buckets. ARGV: of each: rate, burst, amount, limit, whether it enforces.
-- Answers: of each: how long until it fits (-1: never), whether it was taken, end, gone.
local now, buckets, lacks, full = now_ms(), {}, {}, false
for i = 1, #KEYS do
  local a = 5 * i - 5
  local rate, burst, amount = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local used, gone = pass(KEYS[i], now)
  local wait = -1
  if amount <= rate then
    local over = used + (math.min(amount, burst) - burst) * UNITS
    wait = math.ceil(math.max(0, over) / rate)
  end
  if wait ~= 0 then
    lacks[ARGV[a + 4]] = true
    full = full or ARGV[a + 5] == '1'
  end
  buckets[i] = {rate, amount, used, gone, wait, ARGV[a + 4]}
end
local answer = {}
for i = 1, #KEYS do
  local rate, amount, used, gone, wait, limit = unpack(buckets[i])
  local takes = not full and not lacks[limit]
  if takes then
    used = used + amount * UNITS
    keep(KEYS[i], used, gone, now, rate)
  end
  answer[#answer + 1] = wait
  answer[#answer + 1] = takes and 1 or 0
  answer[#answer + 1] = used
  answer[#answer + 1] = gone
end
return answer
