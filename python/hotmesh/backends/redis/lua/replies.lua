-- The replies that have arrived; the first `received` ids are those of earlier ones, to be deleted.
-- Answers id and data, flat.
local answers = {}
for i = 2, #ARGV do
  local key = P .. 'reply:' .. ARGV[i]
  if i < 2 + h.received then
    call('DEL', key)
  else
    local data = call('GET', key)
    if data then
      answers[#answers + 1] = ARGV[i]
      answers[#answers + 1] = data
    end
  end
end
return answers
