-- The replies that have arrived, up to the one with which they have h.bytes bytes; the first
-- `received` ids are those of earlier ones, to be deleted. Answers id and data, flat.
local answers, room = {}, h.bytes
for i = 2, #ARGV do
  local key = P .. 'reply:' .. ARGV[i]
  if i < 2 + h.received then
    call('DEL', key)
  elseif room > 0 then
    local data = call('GET', key)
    if data then
      answers[#answers + 1] = ARGV[i]
      answers[#answers + 1] = data
      room = room - #data
    end
  end
end
return answers
