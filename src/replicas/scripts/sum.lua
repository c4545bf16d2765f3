-- Takes in what a ledger says of a budget in a stretch, once for each ledger.
-- KEYS: marker, who sums up, then counters.
-- ARGV: ledger, replica, number, keep, whether it is shared; then of each: bucket, micro, femto.
-- Answers: -1 where the right to sum up a shared ledger is lost: others' calls may be missing.
if ARGV[5] == '1' and redis.call('GET', KEYS[2]) ~= ARGV[2] then return -1 end
if redis.call('HSETNX', KEYS[1], ARGV[1], '1') == 0 then return 0 end
-- Up to this number the ledger has what this replica settled.
redis.call('HSET', KEYS[1], 'w:' .. ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
for i = 1, #KEYS - 2 do
  local a = 3 + 3 * i
  spend(KEYS[2 + i], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[4])
end
return 1
