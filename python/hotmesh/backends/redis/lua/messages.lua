-- Messages by lane and id, as far as they are there: as step.lua answers them, but with the frames of
-- large ones. Answers {messages, starts of runs}.
local rows, starts = {}, {}
for i = 1, #h.ids do
  local lane, id = h.lanes[i], h.ids[i]
  local found = call('XRANGE', P .. 'lane:' .. lane, id, id)
  local pair = found[1] and found[1][2]
  if pair then
    local frame, n = pair[2], #rows
    if is_large(id) then
      frame = call('GET', frame_key(id)) or ''
    end
    rows[n + 1], rows[n + 2], rows[n + 3], rows[n + 4] = lane, id, pair[1], frame
    if kind_of(id) == START then
      starts[#starts + 1] = columns_of_start(pair[1], lane)
    end
  end
end
return { rows, starts }
