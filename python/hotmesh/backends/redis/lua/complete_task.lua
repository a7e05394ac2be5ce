-- Finish an activity from outside. Numbers: h.seq, h.attempt (0: whichever). Bytes: run id, frame.
-- Answers the run's lane; false if it is not open, or its task is not claimed as this attempt.
local run, frame = take(), take()
local found = call('HMGET', P .. 'run:' .. run, 's', 'l')
if found[1] ~= RUNNING then
  return false
end
local task = call('HMGET', P .. 'task:' .. run .. h.seq, 'n', 'o', 'e')
if h.attempt > 0 and task[1] and (tonumber(task[1]) ~= h.attempt or task[2] == '') then
  return false
end
delete_task(run, h.seq)
if not task[1] or task[3] then
  note_ended(run, h.seq)
end
append(found[2], RESULT, run, frame)
return tonumber(found[2])
