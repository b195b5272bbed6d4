-- Implements the table of `JoinOutcome::of`.
-- KEYS  …, member, high-water mark
-- ARGV  …, user, fence, value, member_ms, max
local others = #members()
local present = redis.call('HGET', KEYS[2], 'fence')
if fenced(ARGV[5], redis.call('GET', KEYS[3]), present) then
  return 'fenced'
end
if not present and others >= tonumber(ARGV[8]) then
  return 'full'
end
write(ARGV[4], KEYS[2], ARGV[5], ARGV[6], ARGV[7])
return 'ok'
