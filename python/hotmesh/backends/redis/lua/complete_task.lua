-- Finish an activity from outside. Numbers: h.lane, h.seq, h.attempt (0: whichever). Bytes: run id,
-- frame. Answers 0 if the run is not open, or its task is not claimed as this attempt.
local run, frame = take(), take()
if call('HGET', P .. 'run:' .. run, 's') ~= RUNNING then
  return 0
end
local task = call('HMGET', P .. 'task:' .. run .. h.seq, 'n', 'o')
if h.attempt > 0 and task[1] and (tonumber(task[1]) ~= h.attempt or task[2] == '') then
  return 0
end
delete_task(run, h.seq)
append(h.lane, RESULT, run, frame)
return 1
