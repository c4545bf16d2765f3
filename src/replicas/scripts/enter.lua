-- Enters an epoch with a new connection: whatever an older one still sends is refused.
-- KEYS: replica, leases, who is behind.
-- ARGV: replica, lease, the last number that this replica gave, whether it is behind.
-- Answers: the generation of the connection, the last number that was applied, whether it is new.
local generation = redis.call('HINCRBY', KEYS[1], 'gen', 1)
local is_new = redis.call('HSETNX', KEYS[1], 'seq', ARGV[3])
redis.call('PEXPIRE', KEYS[1], 172800000)
local ends = now_ms() + tonumber(ARGV[2])
redis.call('ZADD', KEYS[2], ends, ARGV[1])
say_behind(KEYS[3], ARGV[1], ARGV[4], ends)
return {generation, tonumber(redis.call('HGET', KEYS[1], 'seq')), is_new}
