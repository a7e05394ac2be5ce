-- Runs with their journals: {how many were looked at, answers of {run id, its hash flat, frames,
-- length of the journal}}; unknown ones are left out. With h.bytes bytes no further run is looked
-- at, and the frames of the last one may lack those at the end.
local answers, room = {}, h.bytes
for i = 2, #ARGV do
  if room <= 0 then
    return { i - 2, answers }
  end
  local columns = call('HGETALL', P .. 'run:' .. ARGV[i])
  if #columns > 0 then
    for j = 2, #columns, 2 do
      room = room - #columns[j]
    end
    local frames = journal_page(ARGV[i], 0, math.max(room, 1))
    for j = 1, #frames do
      room = room - #frames[j]
    end
    answers[#answers + 1] = { ARGV[i], columns, frames, call('LLEN', P .. 'journal:' .. ARGV[i]) }
  end
end
return { #ARGV - 1, answers }
