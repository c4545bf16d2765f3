-- Put before the scripts of rates. A bucket holds what was taken and not paid yet, the oldest
-- first, in units of a 60,000th: a limit per minute pays a whole number in each millisecond.
local UNITS = 60000
-- All that ever left a bucket is counted up to here, and begins again.
local GONE_MAX = 1125899906842624

-- Lets time pass in a bucket: what is in it, and what has left it. A clock that stepped back pays
-- nothing.
local function pass(bucket, now)
  local kept = redis.call('HMGET', bucket, 'used', 'gone', 'at', 'rate')
  -- What has left one that is new begins farther on with each millisecond than a rate of millions a
  -- minute goes: a lot of one that was forgotten meanwhile lies behind it.
  local used, gone = tonumber(kept[1] or 0), tonumber(kept[2] or now % 268435456 * 4194304)
  local passed = math.max(0, now - tonumber(kept[3] or now))
  local paid = math.min(used, passed * tonumber(kept[4] or 0))
  return used - paid, (gone + paid) % GONE_MAX
end

-- An empty bucket need not be kept.
local function keep(bucket, used, gone, now, rate)
  redis.call('HSET', bucket, 'used', used, 'gone', gone, 'at', now, 'rate', rate)
  redis.call('PEXPIRE', bucket, math.ceil(used / rate) + UNITS)
end
