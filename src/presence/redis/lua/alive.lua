-- The gateway's own sign of life says 'shown'; the locks' writes, which are signs of life as well, leave that as it is.
-- KEYS  gateway
-- ARGV  gateway_ms
-- gives 1 if the gateway has shown itself before, 0 if Redis knows nothing of that
local before = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], 'shown', 'PX', ARGV[1])
return before == 'shown' and 1 or 0
