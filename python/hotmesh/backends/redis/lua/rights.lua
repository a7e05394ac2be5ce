-- Which commands this user may not run on our keys: bytes are their names. Servers before Redis 7 can't be
-- asked: none.
-- Never ask without a key, nor without the number of keys where that is an argument: servers look for
-- them beyond the end of the arguments, and may crash (https://github.com/redis/redis/issues/14843).
local counts_keys = { EVAL = true, EVALSHA = true }
local refused = {}
for i = 2, redis.acl_check_cmd and #ARGV or 1 do
  local word = ARGV[i]
  local allowed
  if counts_keys[word] then
    allowed = redis.acl_check_cmd(word, '', '1', P)
  else
    allowed = redis.acl_check_cmd(word, P)
  end
  if not allowed then
    refused[#refused + 1] = string.lower(word)
  end
end
return refused
