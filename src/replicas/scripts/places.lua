-- Put before the scripts that know of calls at once. A counter of them is a set of the calls that
-- are open. Each replica has a table of its calls, that says in which counters each stands, and
-- with which connection it was said last.
local PLACES_KEPT = 172800000

-- A call stands in counters: said twice it changes nothing.
local function take_places(held, replica, generation, call, counters)
  for _, counter in ipairs(counters) do
    redis.call('SADD', counter, replica .. ':' .. call)
    redis.call('PEXPIRE', counter, PLACES_KEPT)
  end
  redis.call('HSET', held, call, cjson.encode({generation, counters}))
  redis.call('PEXPIRE', held, PLACES_KEPT)
end

-- A call has ended: said twice it changes nothing.
local function leave_places(held, replica, call)
  local text = redis.call('HGET', held, call)
  if not text then return end
  for _, counter in ipairs(cjson.decode(text)[2]) do
    redis.call('SREM', counter, replica .. ':' .. call)
  end
  redis.call('HDEL', held, call)
end

-- All calls of a replica have ended, but those that were told with this connection.
local function leave_all_places(held, replica, generation)
  local calls = redis.call('HGETALL', held)
  for i = 1, #calls, 2 do
    if cjson.decode(calls[i + 1])[1] ~= generation then leave_places(held, replica, calls[i]) end
  end
end
