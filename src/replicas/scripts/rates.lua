-- Takes what a call wants of every bucket and of every counter of calls at once, or nothing. Of a
-- limit that only observes nothing is taken where it has no room.
-- KEYS: those of places; buckets.
-- ARGV: those of places; of each bucket: rate, burst, amount, limit, whether it enforces.
-- Answers: 'said'; of each bucket: how long until it fits (-1: never), whether it was taken, end,
--   gone; of each counter: whether it has room, whether it was taken. Or 'closed' and for how long;
--   or 'changed'.
local word = shut()
if word then return word end
local key, arg = places_before()
local now, buckets, lacks = now_ms(), {}, {}
local rooms, full = look_for_places(lacks)
for i = 1, #KEYS - key do
  local a = arg + 5 * i - 5
  local rate, burst, amount = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local used, gone = pass(KEYS[key + i], now)
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
local answer = {'said'}
for i, bucket in ipairs(buckets) do
  local rate, amount, used, gone, wait, limit = unpack(bucket)
  local takes = not full and not lacks[limit]
  if takes then
    used = used + amount * UNITS
    keep(KEYS[key + i], used, gone, now, rate)
  end
  answer[#answer + 1] = wait
  answer[#answer + 1] = takes and 1 or 0
  answer[#answer + 1] = used
  answer[#answer + 1] = gone
end
answer_places(answer, rooms, lacks, full)
return answer
