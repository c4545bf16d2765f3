-- Takes what a call wants of every bucket and quota, or nothing. Of a limit that only observes
-- nothing is taken where it has no room.
-- KEYS: buckets; of a quota that tenants share its hash, then its finishes.
-- ARGV: of each: rate, burst, amount, limit, whether it enforces, tenant ('': a bucket), weight.
-- Answers: of each: how long until it fits (-1: never), whether it was taken, end, gone.
local now, wants, lacks, worst, full, key = now_ms(), {}, {}, {}, false, 0
for i = 1, #ARGV / 7 do
  local a = 7 * i - 7
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
  if amount > rate then
    worst[limit] = want
  elseif want.quota then
    want.wait = quota_wait(want.quota, amount, rate, burst)
  else
    local over = want.used + (math.min(amount, burst) - burst) * UNITS
    want.wait = math.ceil(math.max(0, over) / rate)
  end
  if want.wait ~= 0 then
    lacks[limit] = true
    full = full or ARGV[a + 5] == '1'
    local other = worst[limit]
    if not other or other.wait >= 0 and want.wait >= other.wait then worst[limit] = want end
  end
  wants[i] = want
end
local answer = {}
for i, want in ipairs(wants) do
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
  answer[4 * i - 3], answer[4 * i - 2] = want.wait, takes and 1 or 0
  answer[4 * i - 1], answer[4 * i] = ends, gone
end
return answer
