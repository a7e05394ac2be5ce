-- A router goes: its lanes are free and the leases of its claimed tasks are over. Bytes: router id.
local router = take()
local queues = call('SMEMBERS', P .. 'queues')
for i = 1, #queues do
  local owners, claims = P .. 'owners:' .. queues[i], P .. 'claims:' .. queues[i]
  local flat = call('HGETALL', owners)
  for j = 1, #flat, 2 do
    if flat[j + 1] == router then
      call('HDEL', owners, flat[j])
    end
  end
  local claimed = call('ZRANGE', claims, 0, -1)
  for j = 1, #claimed do
    if call('HGET', P .. 'task:' .. claimed[j], 'o') == router then
      call('ZADD', claims, text(now), claimed[j])
    end
  end
  call('SREM', P .. 'members:' .. queues[i], router)
end
call('DEL', P .. 'router:' .. router)
call('ZREM', P .. 'leases', router)
call('ZREM', P .. 'rollcall', router)
return {}
