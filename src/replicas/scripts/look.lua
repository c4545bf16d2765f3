-- Where counters stand; -1 three times where a counter was never summed up: that is not zero.
-- KEYS: of each: marker, counter. ARGV: ledger; then of each: its oldest bucket.
local answer = {}
for i = 1, #KEYS / 2 do
  local micro, femto, held = -1, -1, -1
  if redis.call('HEXISTS', KEYS[2 * i - 1], ARGV[1]) == 1 then
    micro, femto, held = position(KEYS[2 * i], ARGV[1 + i])
  end
  answer[#answer + 1] = micro
  answer[#answer + 1] = femto
  answer[#answer + 1] = held
end
return answer
