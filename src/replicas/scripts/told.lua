-- Told beside calls what has become of those that have places.
-- KEYS: epoch, replica, its calls; counters of one that is open.
-- ARGV: epoch, generation, replica, kind; call.
--   open: it is open. left: it has ended. all: those that were told are all that are open.
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 'changed' end
if redis.call('HGET', KEYS[2], 'gen') ~= ARGV[2] then return 'changed' end
if ARGV[4] == 'open' then
  take_places(KEYS[3], ARGV[3], ARGV[2], ARGV[5], {unpack(KEYS, 4)})
elseif ARGV[4] == 'left' then
  leave_places(KEYS[3], ARGV[3], ARGV[5])
else
  leave_all_places(KEYS[3], ARGV[3], ARGV[2])
end
return 'done'
