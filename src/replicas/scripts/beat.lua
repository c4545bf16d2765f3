-- Renews the lease of a replica, and ends one that ran out: its holds count as spent, once, and its
-- places come back.
-- KEYS: epoch, replica, leases, who is behind, who is gone.
-- ARGV: epoch, replica, lease, prefix of holds, of expired holds, whether this one is behind,
--   prefix of calls that have places.
-- Answers: the last number that was applied (-1: it has to enter again), the replica that expired.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return {-1, ''} end
local now = now_ms()
-- One whose own lease was ended enters again, and tells of its places.
if redis.call('ZADD', KEYS[3], now + tonumber(ARGV[3]), ARGV[2]) == 1 then return {-1, ''} end
redis.call('PEXPIRE', KEYS[2], 172800000)
redis.call('PEXPIRE', KEYS[3], 172800000)
redis.call('PEXPIRE', ARGV[7] .. ARGV[2], PLACES_KEPT)
say_behind(KEYS[4], ARGV[2], ARGV[6], now + tonumber(ARGV[3]))
local dead = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 1)[1] or ''
if dead ~= '' then
  local holds, expired = ARGV[4] .. dead, ARGV[5] .. dead
  local calls = redis.call('HKEYS', holds)
  for _, call in ipairs(calls) do
    local text = redis.call('HGET', holds, call)
    local record = take(holds, call)
    give_back(record)
    spend_record(record, 1)
    redis.call('HSET', expired, call, text)
  end
  redis.call('PEXPIRE', expired, 172800000)
  if #calls > 0 then
    redis.call('ZADD', KEYS[5], now, dead)
    redis.call('PEXPIRE', KEYS[5], 172800000)
  end
  leave_all_places(ARGV[7] .. dead, dead)
  redis.call('ZREM', KEYS[3], dead)
end
return {tonumber(redis.call('HGET', KEYS[2], 'seq') or -1), dead}
