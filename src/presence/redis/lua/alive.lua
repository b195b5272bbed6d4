-- The gateway's own heartbeat sets 'shown'. The lock scripts, which also count as heartbeats, keep the value.
-- KEYS  gateway
-- ARGV  gateway_ms
-- Returns 1 if Redis knows an earlier heartbeat of the gateway, 0 if not.
local before = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], 'shown', 'PX', ARGV[1])
return before == 'shown' and 1 or 0
