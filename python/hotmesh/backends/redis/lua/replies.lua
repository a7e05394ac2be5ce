-- Take the replies that have arrived. Answers id and data, flat.
local answers = {}
for i = 2, #ARGV do
  local data = call('GETDEL', P .. 'reply:' .. ARGV[i])
  if data then
    answers[#answers + 1] = ARGV[i]
    answers[#answers + 1] = data
  end
end
return answers
