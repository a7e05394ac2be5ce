-- The rollcall: {router id, queue id, lanes owned, last seen, alive, info} of each. A router is
-- alive until a beat declares it dead: what is listed and what fences a step are the same field.
local ids = call('ZRANGE', P .. 'rollcall', 0, -1)
local answers, owned = {}, {}
for i = 1, #ids do
  local found = call('HMGET', P .. 'router:' .. ids[i], 'q', 'seen', 'alive', 'info')
  local queue = found[1]
  if queue then
    if not owned[queue] then
      owned[queue] = {}
      local owners = call('HVALS', P .. 'owners:' .. queue)
      for j = 1, #owners do
        owned[queue][owners[j]] = (owned[queue][owners[j]] or 0) + 1
      end
    end
    answers[#answers + 1] = { ids[i], tonumber(queue), owned[queue][ids[i]] or 0,
      tonumber(found[2]) - shift, tonumber(found[3]), found[4] }
  end
end
return answers
