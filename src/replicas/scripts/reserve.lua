-- Holds what a call wants of every counter, or nothing.
-- KEYS: epoch, replica, holds; then of each want: marker, counter.
-- ARGV: epoch, generation, ledger, call; then of each: bucket, oldest, keep, limit, amount, blocks.
local epoch = redis.call('HMGET', KEYS[1], 'id', 'opens')
if epoch[1] ~= ARGV[1] then return {'changed'} end
local closed = tonumber(epoch[2]) - now_ms()
if closed > 0 then return {'closed', closed} end
if redis.call('HGET', KEYS[2], 'gen') ~= ARGV[2] then return {'changed'} end
local answer, record = {'taken'}, {}
for i = 1, (#KEYS - 3) / 2 do
  local marker, counter, a = KEYS[2 + 2 * i], KEYS[3 + 2 * i], 6 * i - 2
  -- What was never summed up is not known, and not zero.
  if redis.call('HEXISTS', marker, ARGV[3]) == 0 then return {'unknown'} end
  local micro, femto, held = position(counter, ARGV[a + 2])
  local amount = tonumber(ARGV[a + 5])
  local taken = micro + held + amount
  if femto > 0 then taken = taken + 1 end
  if ARGV[a + 6] == '1' and taken > tonumber(ARGV[a + 4]) then
    return {'full', i - 1, micro, femto, held}
  end
  answer[#answer + 1] = micro
  answer[#answer + 1] = femto
  answer[#answer + 1] = held + amount
  redis.call('PEXPIRE', marker, ARGV[a + 3])
  record[i] = {counter, ARGV[a + 1], ARGV[a + 3], ARGV[a + 5]}
end
hold(KEYS[3], ARGV[4], record)
return answer
