-- Takes what a call wants of every bucket and quota, and of every counter of calls at once, or
-- nothing. Of a limit that only observes nothing is taken where it has no room.
-- KEYS: those of places; buckets, and of a quota that tenants share its hash and its finishes.
-- ARGV: those of places; of each rate: rate, burst, amount, limit, whether it enforces, tenant ('': a
--   bucket), weight.
-- Answers: 'said'; of each rate: how long until it fits (-1: never), whether it was taken, end,
--   gone; of each counter: whether it has room, whether it was taken. Or 'closed' and for how long;
--   or 'changed'.
local word = shut()
if word then return word end
local key, arg = places_before()
local now, wants, lacks, worst = now_ms(), {}, {}, {}
local rooms, full = look_for_places(lacks)
for i = 1, (#ARGV - arg) / 7 do
  local a = arg + 7 * i - 7
  local rate, burst, amount = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local limit, tenant = ARGV[a + 4], ARGV[a + 6]
  local want = {rate = rate, amount = amount, limit = limit, wait = -1, weight = tonumber(ARGV[a + 7])}
  key = key + 1
  want.key = KEYS[key]
  if tenant == '' then
    want.used, want.gone = pass(want.key, now)
  else
    key = key + 1
    want.quota = open_quota(want.key, KEYS[key], tenant, now)
  end
  if amount <= rate and want.quota then
    want.wait = quota_wait(want.quota, amount, rate, burst)
  elseif amount <= rate then
    local over = want.used + (math.min(amount, burst) - burst) * UNITS
    want.wait = math.ceil(math.max(0, over) / rate)
  end
  if want.wait ~= 0 then
    lacks[limit] = true
    full = full or ARGV[a + 5] == '1'
    -- Of what a limit has no room for: what never fits, else what fits last.
    local other = worst[limit]
    local is_worse = not other or other.wait >= 0 and (want.wait < 0 or want.wait >= other.wait)
    if is_worse then worst[limit] = want end
  end
  wants[i] = want
end
local answer = {'said'}
for _, want in ipairs(wants) do
  local quota = want.quota
  local takes = not full and not lacks[want.limit]
  local ends, gone = want.used or 0, want.gone or 0
  if takes and quota then
    ends, gone = take_share(quota, want.amount, want.weight)
  elseif takes then
    ends = ends + want.amount * UNITS
    keep(want.key, ends, gone, now, want.rate)
  elseif quota and full and want.wait > 0 and worst[want.limit] == want then
    claim(quota, want.amount, want.wait)
  end
  if quota then keep_quota(quota, want.rate) end
  answer[#answer + 1] = want.wait
  answer[#answer + 1] = takes and 1 or 0
  answer[#answer + 1] = ends
  answer[#answer + 1] = gone
end
answer_places(answer, rooms, lacks, full)
return answer
