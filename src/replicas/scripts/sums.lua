-- Gives one replica at a time the right to sum up a ledger that several share, or takes it back.
-- Whoever makes entries for others takes it too, with a name of its own: what it tells meanwhile is
-- then in no sum.
-- KEYS: who sums up, who is behind. ARGV: what, replica, for how long. Answers: 1 where it was given.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then return 0 end
if ARGV[1] == 'end' then return redis.call('DEL', KEYS[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms())
-- What waits in the spill of a replica is in no sum.
if not is_late(ARGV[2]) and redis.call('ZCARD', KEYS[2]) > 0 then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
