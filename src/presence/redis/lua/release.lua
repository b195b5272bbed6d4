-- Implements the table of `ReleaseOutcome::of`.
-- KEYS  lock, high-water mark
-- ARGV  fence, high-water mark after the release, mark_ms
-- Returns 1 if the lock was released, or had expired without a newer holder; 0 if another caller took it.
local held = redis.call('HGET', KEYS[1], 'fence')
local mark = redis.call('GET', KEYS[2])
if held and held ~= ARGV[1] then
  return 0
end
if not held and mark and tonumber(mark) > tonumber(ARGV[1]) then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
