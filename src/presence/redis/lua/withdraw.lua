-- An acquisition whose answer nobody got: undone if it was run, void if it is still to come.
-- KEYS  lock, mark, the attempt's withdrawal
-- ARGV  attempt, lock_ms, mark_ms
redis.call('SET', KEYS[3], '', 'PX', ARGV[2])
local held = redis.call('HMGET', KEYS[1], 'attempt', 'fence')
if held[1] == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], string.format('%.0f', tonumber(held[2]) + 1), 'PX', ARGV[3])
end
return 1
