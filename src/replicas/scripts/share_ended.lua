-- Gives back what an ended call did not use of its tenant's share of a quota, and takes what it used
-- beyond it.
-- KEYS: the quota's hash, its finishes. ARGV: rate, amount, end, gone, unused, more, tenant, weight.
local quota = open_quota(KEYS[1], KEYS[2], ARGV[7], now_ms())
local back, more = math.min(tonumber(ARGV[5]), tonumber(ARGV[2])), tonumber(ARGV[6])
give_back_share(quota, tonumber(ARGV[3]), ARGV[4], back)
if more > 0 then take_share(quota, more, tonumber(ARGV[8])) end
keep_quota(quota, quota.rate > 0 and quota.rate or tonumber(ARGV[1]))
return 1
