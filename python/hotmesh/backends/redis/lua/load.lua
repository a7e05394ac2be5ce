-- Runs with their journals: {run id, its hash flat, frames}; unknown ones are left out.
local answers = {}
for i = 2, #ARGV do
  local columns = call('HGETALL', P .. 'run:' .. ARGV[i])
  if #columns > 0 then
    local frames = call('LRANGE', P .. 'journal:' .. ARGV[i], 0, -1)
    answers[#answers + 1] = { ARGV[i], columns, frames }
  end
end
return answers
