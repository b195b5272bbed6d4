-- Returns the value of each member.
local values = {}
for i, user in ipairs(members()) do
  values[i] = redis.call('HGET', ARGV[2] .. user, 'value')
end
return values
