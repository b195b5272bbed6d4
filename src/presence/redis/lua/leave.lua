-- Implements the table of `UpdateOutcome::of`.
-- KEYS  …, member, high-water mark
-- ARGV  …, user, fence
members()
local present = redis.call('HGET', KEYS[2], 'fence')
if fenced(ARGV[5], redis.call('GET', KEYS[3]), present) then
  return 'fenced'
end
if not present then
  return 'absent'
end
redis.call('DEL', KEYS[2])
redis.call('SREM', KEYS[1], ARGV[4])
tell()
return 'ok'
