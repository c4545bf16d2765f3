-- Takes what a call wants of every bucket and of every counter of calls at once, or nothing. Of a
-- limit that only observes nothing is taken where it has no room.
-- KEYS: buckets; then, where places are wanted: epoch, replica, leases, its calls, counters.
-- ARGV: how many buckets, how many counters; of each bucket: rate, burst, amount, limit, whether it
--   enforces; then, where places are wanted: epoch, generation, replica, call; of each counter:
--   most, limit, whether it enforces.
-- Answers: 'said'; of each bucket: how long until it fits (-1: never), whether it was taken, end,
--   gone; of each counter: whether it has room, whether it was taken. Or 'closed' and for how long;
--   or 'changed'.
local BUCKETS, PLACES = tonumber(ARGV[1]), tonumber(ARGV[2])
local key, arg = BUCKETS + 1, 5 * BUCKETS + 3
local word = PLACES > 0 and shut(key, arg)
if word then return word end
local now, buckets, lacks, full = now_ms(), {}, {}, false
for i = 1, BUCKETS do
  local a = 5 * i - 3
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
local rooms, none = look_for_places(key + 4, arg + 4, PLACES, lacks)
full = full or none
local answer = {'said'}
for i = 1, BUCKETS do
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
local taken = {}
for i = 1, PLACES do
  local takes = not full and not lacks[ARGV[arg + 3 * i + 2]]
  if takes then taken[#taken + 1] = KEYS[key + 3 + i] end
  answer[#answer + 1] = rooms[i] and 1 or 0
  answer[#answer + 1] = takes and 1 or 0
end
if #taken > 0 then
  take_places(KEYS[key + 3], ARGV[arg + 2], ARGV[arg + 1], ARGV[arg + 3], taken)
end
return answer
