-- Those of h.names names that records have, and some of the others. Bytes: names.
local found = {}
for _ = 1, h.names do
  local name = take()
  if call('HEXISTS', P .. 'names', name) == 1 then
    found[#found + 1] = name
  end
end
if h.others > 0 then
  local some = call('HRANDFIELD', P .. 'names', h.others)
  for i = 1, #some do
    found[#found + 1] = some[i]
  end
end
return found
