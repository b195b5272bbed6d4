local removed = members()
for _, user in ipairs(removed) do
  redis.call('DEL', ARGV[2] .. user)
end
redis.call('DEL', KEYS[1])
if #removed > 0 then
  tell()
end
return 1
