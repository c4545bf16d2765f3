-- Put before the script of rates, behind that of places.
-- Where a call wants places, these come first. KEYS: epoch, replica, leases, its calls; then
-- counters. ARGV: how many counters; epoch, generation, replica, call; then of each counter: most,
-- limit, whether it enforces. Without places there is no more of it than the zero.
local PLACES = tonumber(ARGV[1])

-- How many keys and arguments that are.
local function places_before()
  if PLACES == 0 then return 0, 1 end
  return 4 + PLACES, 5 + 3 * PLACES
end

-- What a replica that may take no places now is told instead of an answer; nil where it may.
local function shut()
  if PLACES == 0 then return nil end
  local epoch = redis.call('HMGET', KEYS[1], 'id', 'opens')
  if epoch[1] ~= ARGV[2] then return {'changed'} end
  local closed = tonumber(epoch[2]) - now_ms()
  if closed > 0 then return {'closed', closed} end
  if redis.call('HGET', KEYS[2], 'gen') ~= ARGV[3] then return {'changed'} end
  -- Its lease ran out, and its places came back: it has to tell of them first.
  if not redis.call('ZSCORE', KEYS[3], ARGV[4]) then return {'changed'} end
end

-- Which counters have room; the limit of one that has none lacks. Also whether the call is refused.
local function look_for_places(lacks)
  local rooms, full = {}, false
  for i = 1, PLACES do
    rooms[i] = redis.call('SCARD', KEYS[4 + i]) < tonumber(ARGV[3 * i + 3])
    if not rooms[i] then
      lacks[ARGV[3 * i + 4]] = true
      full = full or ARGV[3 * i + 5] == '1'
    end
  end
  return rooms, full
end

-- Takes the places of all limits that lack nothing, unless the call is refused. Adds to the answer,
-- of each counter: whether it has room, whether it was taken.
local function answer_places(answer, rooms, lacks, full)
  local taken = {}
  for i = 1, PLACES do
    local takes = not full and not lacks[ARGV[3 * i + 4]]
    if takes then taken[#taken + 1] = KEYS[4 + i] end
    answer[#answer + 1] = rooms[i] and 1 or 0
    answer[#answer + 1] = takes and 1 or 0
  end
  if #taken > 0 then take_places(KEYS[4], ARGV[4], ARGV[3], ARGV[5], taken) end
end
