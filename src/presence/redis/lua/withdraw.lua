-- Withdraws an acquisition whose reply was lost: undoes it if it was applied, and makes it fail if it is
-- applied later.
-- KEYS  lock, high-water mark, withdrawal of the attempt
-- ARGV  attempt, lock_ms, mark_ms
redis.call('SET', KEYS[3], '', 'PX', ARGV[2])
local held = redis.call('HMGET', KEYS[1], 'attempt', 'fence')
if held[1] == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], string.format('%.0f', tonumber(held[2]) + 1), 'PX', ARGV[3])
end
return 1
