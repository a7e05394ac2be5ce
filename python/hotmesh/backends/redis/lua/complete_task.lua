-- Finish an activity whatever its attempt. Numbers: h.lane, h.seq. Bytes: run id, frame.
-- Answers whether the run is open.
local run, frame = take(), take()
if call('HGET', P .. 'run:' .. run, 's') ~= RUNNING then
  return 0
end
delete_task(run, h.seq)
append(h.lane, RESULT, run, frame)
return 1
