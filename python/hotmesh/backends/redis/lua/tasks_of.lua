-- Those of a run's activities that are tasks. Bytes: run id. Numbers: h.seqs.
local run = take()
local answers = {}
for i = 1, #h.seqs do
  answers[#answers + 1] = look_at_task(run, h.seqs[i])
end
return answers
