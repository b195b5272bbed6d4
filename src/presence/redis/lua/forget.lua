-- KEYS  …, member
-- ARGV  …, user
members()
if redis.call('DEL', KEYS[2]) == 1 then
  redis.call('SREM', KEYS[1], ARGV[4])
  tell()
end
return 1
