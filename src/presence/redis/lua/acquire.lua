-- Implements the table of `AcquireDecision::of`, and `FencingToken::next` with this server's clock.
-- KEYS  lock, high-water mark, gateway of the caller, withdrawal of the attempt
-- ARGV  gateway, connection, client ('' = none), attempt, policy, lock_ms, mark_ms, gateway_ms,
--       prefix of gateway keys, prefix of the gateways' channels, room, user
-- Returns {fence, decision, gateway, connection, client}. The last three are the previous holder; '' = none.
if redis.call('EXISTS', KEYS[4]) == 1 then
  return {'0', 'withdrawn', '', '', ''}
end
if redis.call('PEXPIRE', KEYS[3], ARGV[8]) == 0 then
  redis.call('SET', KEYS[3], '', 'PX', ARGV[8])
end

local held = redis.call('HMGET', KEYS[1], 'gateway', 'connection', 'client')
local claim
if not held[1] then
  claim = 'free'
elseif held[1] == ARGV[1] and held[2] == ARGV[2] then
  claim = 'own'
elseif held[3] ~= '' and held[3] == ARGV[3] then
  claim = 'replaces'
elseif redis.call('EXISTS', ARGV[9] .. held[1]) == 0 then
  claim = 'replaces'
elseif ARGV[5] == 'replace' then
  claim = 'replaces'
else
  claim = 'refused'
end
local before = {held[1] or '', held[2] or '', held[3] or ''}
if claim == 'refused' then
  return {'0', claim, before[1], before[2], before[3]}
end

local time = redis.call('TIME')
local clock_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local mark = tonumber(redis.call('GET', KEYS[2]) or '-1')
-- %.0f: a Lua number is exact below 2^53, but it is printed with 15 digits only.
local fence = string.format('%.0f', math.max(mark + 1, clock_us))
redis.call('HSET', KEYS[1], 'gateway', ARGV[1], 'connection', ARGV[2], 'client', ARGV[3],
  'fence', fence, 'attempt', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('SET', KEYS[2], fence, 'PX', ARGV[7])
if claim == 'replaces' then
  local told = {seat = {room = ARGV[11], user = ARGV[12]}, connection = before[2]}
  redis.call('PUBLISH', ARGV[10] .. before[1], cjson.encode(told))
end
return {fence, claim, before[1], before[2], before[3]}
