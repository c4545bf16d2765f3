-- Applies what became of a call, once.
-- KEYS: epoch, replica, holds, expired, who sums up, late calls; then, when settled: marker, counter
--   of each.
-- ARGV: epoch, number, ledger, replica, kind, call;
--   settle: micro, femto, then of each: bucket, keep;
--   hold, spend: of each: counter, bucket, keep, amount.
local refused = out_of_turn(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refused then return refused end

local kind, call, number = ARGV[5], ARGV[6], tonumber(ARGV[2])
-- Another has settled it, as this replica was taken for dead: that entry stands.
if redis.call('HEXISTS', KEYS[6], call) == 1 then return 'done' end
local function told()
  local record = {}
  for a = 7, #ARGV, 4 do
    record[#record + 1] = {ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3]}
  end
  return record
end

if kind == 'hold' then
  -- A hold that the store lost, or never knew.
  if redis.call('HEXISTS', KEYS[3], call) == 0 and redis.call('HEXISTS', KEYS[4], call) == 0 then
    hold(KEYS[3], call, told())
  end
  return 'done'
end

local open = take(KEYS[3], call)
if open then give_back(open) end
local expired = not open and take(KEYS[4], call)
if kind == 'spend' then
  if not expired then spend_record(open or told(), 1) end
  return 'done'
end
-- A lease that ran out counted the hold as spent: the truth takes its place.
if expired then spend_record(expired, -1) end
if kind == 'settle' then
  local summing = redis.call('GET', KEYS[5])
  local other_sums = summing and summing ~= ARGV[4] and not is_late(summing)
  for i = 1, (#KEYS - 6) / 2 do
    local marker, counter = KEYS[5 + 2 * i], KEYS[6 + 2 * i]
    local known = redis.call('HMGET', marker, ARGV[3], 'w:' .. ARGV[4])
    -- What is not summed up yet will be, from a ledger that has this entry; unless another replica
    -- is about it, and may have read the ledger without it.
    if (known[1] or other_sums) and not (known[2] and number <= tonumber(known[2])) then
      spend(counter, ARGV[7 + 2 * i], ARGV[7], ARGV[8], ARGV[8 + 2 * i])
    end
  end
end
return 'done'
