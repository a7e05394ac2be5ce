-- The ids of task queues and side queues, made on first use. KEYS[1] is "{prefix}:". h.wanted: the ids that their
-- names ask for; each gets it or the next free one, so that a database which has lost a queue gives
-- the same one again. Bytes: the full name of each (namespace, task
-- queue and, of a side queue, workflow type; zero bytes between).
local ids = {}
for i = 1, #h.wanted do
  local name = take()
  local id = call('HGET', P .. 'queue_ids', name)
  if not id then
    id = h.wanted[i]
    while call('HEXISTS', P .. 'queue_names', id) == 1 do
      id = id + 1
    end
    call('HSET', P .. 'queue_ids', name, id)
    call('HSET', P .. 'queue_names', id, name)
  end
  ids[i] = tonumber(id)
end
return ids
