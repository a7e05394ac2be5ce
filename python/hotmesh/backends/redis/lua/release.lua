-- Give lanes back, those that are the router's. Numbers: h.lanes. Bytes: router id.
local router = take()
for i = 1, #h.lanes do
  local index = h.lanes[i] % LANES_PER_QUEUE
  local owners = P .. 'owners:' .. text((h.lanes[i] - index) / LANES_PER_QUEUE)
  if call('HGET', owners, index) == router then
    call('HDEL', owners, index)
  end
end
return {}
