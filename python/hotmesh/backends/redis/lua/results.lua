-- Status (0: no such run) and result of runs, flat.
local answers = {}
for i = 2, #ARGV do
  local found = call('HMGET', P .. 'run:' .. ARGV[i], 's', 'o')
  answers[#answers + 1] = tonumber(found[1] or 0)
  answers[#answers + 1] = found[2] or ''
end
return answers
