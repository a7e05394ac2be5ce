-- Runs by (workflow id, run id or ""). Answers {run id, its hash flat, journal length} or false.
local answers = {}
for i = 2, #ARGV, 2 do
  local workflow_id, run = ARGV[i], ARGV[i + 1]
  if run == '' then
    run = call('GET', P .. 'current:' .. workflow_id) or ''
  end
  local found = false
  if call('HGET', P .. 'run:' .. run, 'w') == workflow_id then
    found = { run, call('HGETALL', P .. 'run:' .. run), call('LLEN', P .. 'journal:' .. run) }
  end
  answers[#answers + 1] = found
end
return answers
