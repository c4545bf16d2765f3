-- Applies what a call of a process that died cost, whose entry another makes: once, in the place of
-- whatever the store has of it. Told again it takes the place of what was told.
-- KEYS: epoch, replica, leases, who is gone, late calls, who sums up; then marker, counter of each.
-- ARGV: epoch, number, ledger, prefix of holds, of expired holds, call, micro, femto; then of each:
--   bucket, keep.
local refused = out_of_turn(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refused then return refused end

local call, was_counted = ARGV[6], {}
local function take_of(replicas, prefix)
  for _, replica in ipairs(redis.call('ZRANGE', replicas, 0, -1)) do
    local record = take(prefix .. replica, call)
    if record then return record end
  end
end
local before = take(KEYS[5], call)
local open = not before and take_of(KEYS[3], ARGV[4])
local expired = not before and not open and take_of(KEYS[4], ARGV[5])
if open then give_back(open) end
if expired then spend_record(expired, -1) end
for _, one in ipairs(before or {}) do
  spend(one[1], one[2], 0 - tonumber(one[4]), 0 - tonumber(one[5]), one[3])
  was_counted[one[1]] = true
end

local summing, record = redis.call('GET', KEYS[6]), {}
-- Somebody may have read the ledger without the entry.
local is_read = summing and not is_late(summing)
for i = 1, (#KEYS - 6) / 2 do
  local marker, counter, a = KEYS[5 + 2 * i], KEYS[6 + 2 * i], 7 + 2 * i
  -- What is not summed up yet will be, from a ledger that has the entry.
  if was_counted[counter] or is_read or redis.call('HEXISTS', marker, ARGV[3]) == 1 then
    spend(counter, ARGV[a], ARGV[7], ARGV[8], ARGV[a + 1])
    record[#record + 1] = {counter, ARGV[a], ARGV[a + 1], ARGV[7], ARGV[8]}
  end
end
redis.call('HSET', KEYS[5], call, cjson.encode(record))
redis.call('PEXPIRE', KEYS[5], 172800000)
return 'done'
