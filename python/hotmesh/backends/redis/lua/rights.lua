-- Which commands this user may not run on any key: bytes are their names. Servers before Redis 7 can't be
-- asked: none.
local refused = {}
for i = 2, redis.acl_check_cmd and #ARGV or 1 do
  if not redis.acl_check_cmd(ARGV[i]) then
    refused[#refused + 1] = string.lower(ARGV[i])
  end
end
return refused
