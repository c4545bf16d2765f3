-- Where counters stand. KEYS: counters. ARGV: the oldest bucket of each.
local answer = {}
for i = 1, #KEYS do
  local micro, femto, held = position(KEYS[i], ARGV[i])
  answer[#answer + 1] = micro
  answer[#answer + 1] = femto
  answer[#answer + 1] = held
end
return answer
