-- Implements the table of `Renewal::of`.
-- KEYS  lock, high-water mark, gateway of the holder
-- ARGV  fence, gateway, connection, client, lock_ms, mark_ms, gateway_ms
-- Returns 1 if the holder has the lock afterwards, 0 if not.
if redis.call('PEXPIRE', KEYS[3], ARGV[7]) == 0 then
  redis.call('SET', KEYS[3], '', 'PX', ARGV[7])
end
local held = redis.call('HGET', KEYS[1], 'fence')
local mark = redis.call('GET', KEYS[2])
if held and held ~= ARGV[1] then
  return 0
end
if not held then
  if mark and tonumber(mark) > tonumber(ARGV[1]) then
    return 0
  end
  redis.call('HSET', KEYS[1], 'gateway', ARGV[2], 'connection', ARGV[3], 'client', ARGV[4],
    'fence', ARGV[1], 'attempt', '')
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[6])
return 1
