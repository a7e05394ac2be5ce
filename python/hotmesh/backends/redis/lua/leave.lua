-- A router goes: its lanes are free and the leases of its claimed tasks are over. Bytes: router id.
local router = take()
local queues = call('SMEMBERS', P .. 'queues')
for i = 1, #queues do
  local owners = P .. 'owners:' .. queues[i]
  local flat = call('HGETALL', owners)
  for j = 1, #flat, 2 do
    if flat[j + 1] == router then
      call('HDEL', owners, flat[j])
    end
  end
  local types = call('SMEMBERS', P .. 'types:' .. queues[i])
  for j = 1, #types do
    local claims = claims_of(queues[i], types[j])
    local claimed = call('ZRANGE', claims, 0, -1)
    for k = 1, #claimed do
      if call('HGET', P .. 'task:' .. claimed[k], 'o') == router then
        call('ZADD', claims, text(now), claimed[k])
      end
    end
  end
  call('SREM', P .. 'members:' .. queues[i], router)
end
call('DEL', P .. 'router:' .. router)
call('ZREM', P .. 'leases', router)
call('ZREM', P .. 'rollcall', router)
return {}
