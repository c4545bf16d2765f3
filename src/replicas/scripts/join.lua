-- Finds the epoch of the store, or begins one: a store that lost its memory has none.
-- KEYS: epoch. ARGV: the id of a new epoch, how long it stays closed, an epoch that is over or ''.
-- Answers: the id, and for how many milliseconds it is closed yet.
local now = now_ms()
local id = redis.call('HGET', KEYS[1], 'id')
if not id or id == ARGV[3] then
  id = ARGV[1]
  redis.call('HSET', KEYS[1], 'id', id, 'opens', now + tonumber(ARGV[2]))
end
return {id, math.max(0, tonumber(redis.call('HGET', KEYS[1], 'opens')) - now)}
