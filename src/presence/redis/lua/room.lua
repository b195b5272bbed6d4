-- Beginning of each script that uses a room's keys.
-- KEYS  set of the room's users
-- ARGV  room, prefix of its member keys, channel of changes
local function tell()
  redis.call('PUBLISH', ARGV[3], ARGV[1])
end

-- Returns the users whose entries have not expired. Removes the others from the set, and publishes a change
-- if it has removed any.
local function members()
  local living, gone = {}, false
  for _, user in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    if redis.call('EXISTS', ARGV[2] .. user) == 1 then
      living[#living + 1] = user
    else
      redis.call('SREM', KEYS[1], user)
      gone = true
    end
  end
  if gone then
    tell()
  end
  return living
end

-- Returns true if a holder newer than `fence` has, or had, the lock. `mark` and `present` are nil or false if
-- the key is absent.
local function fenced(fence, mark, present)
  return (mark and tonumber(mark) > tonumber(fence)) or (present and tonumber(present) > tonumber(fence))
end

local function write(user, key, fence, value, member_ms)
  local old = redis.call('HGET', key, 'value')
  redis.call('HSET', key, 'fence', fence, 'value', value)
  redis.call('PEXPIRE', key, member_ms)
  redis.call('SADD', KEYS[1], user)
  redis.call('PEXPIRE', KEYS[1], member_ms)
  if old ~= value then
    tell()
  end
end
