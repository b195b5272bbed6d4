-- The table of `Released::of`.
-- KEYS  lock, mark
-- ARGV  fence, the mark after it, mark_ms
-- gives 1 if the seat was freed, 0 if it is not the asker's
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
