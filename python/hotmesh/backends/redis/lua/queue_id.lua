-- The id of a task queue, made on first use. KEYS[1] is "{prefix}:". Bytes: namespace, then the
-- queue's full name (namespace, a zero byte, task queue).
local namespace, name = take(), take()
local id = call('HGET', P .. 'queue_ids', name)
if not id then
  id = call('HINCRBY', P .. 'queue_ids', '', 1)
  call('HSET', P .. 'queue_ids', name, id)
  call('HSET', P .. 'queue_names', id, name)
  call('SADD', P .. 'namespaces', namespace)
end
return tonumber(id)
