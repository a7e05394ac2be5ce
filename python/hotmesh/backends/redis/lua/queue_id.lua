-- The id of a task queue, made on first use. KEYS[1] is "{prefix}:". Bytes: the queue's full name
-- (namespace, a zero byte, task queue).
local name = take()
local id = call('HGET', P .. 'queue_ids', name)
if not id then
  id = call('HINCRBY', P .. 'queue_ids', '', 1)
  call('HSET', P .. 'queue_ids', name, id)
  call('HSET', P .. 'queue_names', id, name)
end
return tonumber(id)
