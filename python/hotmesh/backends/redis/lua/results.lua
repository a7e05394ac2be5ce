-- Status (0: no such run) and result of runs, flat. With h.bytes bytes of results the others are
-- said to run still: they are to be asked for again.
local answers, room = {}, h.bytes
for i = 2, #ARGV do
  local status, result = tonumber(RUNNING), ''
  if room > 0 then
    local found = call('HMGET', P .. 'run:' .. ARGV[i], 's', 'o')
    status, result = tonumber(found[1] or 0), found[2] or ''
    room = room - #result
  end
  answers[#answers + 1] = status
  answers[#answers + 1] = result
end
return answers
