-- The ids of task queues and side queues, made on first use. KEYS[1] is "{prefix}:". h.wanted: the ids that their
-- names ask for; each gets it or the next free one, so that a database which has lost a queue gives
-- the same one again. Bytes: the full name of each (namespace, task
-- queue and, of a side queue, workflow type; zero bytes between).
-- An id that is not near the wanted one is damaged, and so is another name under it: both are put
-- right.
local IDS_TRIED = 64
local ids = {}
for i = 1, #h.wanted do
  local name = take()
  local wanted = h.wanted[i]
  local id = tonumber(call('HGET', P .. 'queue_ids', name) or '')
  if not id or id < wanted or id >= wanted + IDS_TRIED then
    id = wanted
    local other = call('HGET', P .. 'queue_names', id)
    while other and other ~= name do
      id = id + 1
      other = call('HGET', P .. 'queue_names', id)
    end
    call('HSET', P .. 'queue_ids', name, id)
  end
  if call('HGET', P .. 'queue_names', id) ~= name then
    call('HSET', P .. 'queue_names', id, name)
  end
  ids[i] = id
end
return ids
