-- Activity tasks of a run: {seq, attempts, due, owner, frame, state} of each. Bytes: run id. Numbers:
-- h.seqs.
local run = take()
local answers = {}
for i = 1, #h.seqs do
  local seq = h.seqs[i]
  local found = call('HMGET', P .. 'task:' .. run .. seq, 'q', 'k', 'n', 'o', 'f', 'y')
  if found[1] then
    local due = call('ZSCORE', waiting_of(found[1], found[2]), run .. seq)
      or call('ZSCORE', claims_of(found[1], found[2]), run .. seq)
    answers[#answers + 1] = { seq, tonumber(found[3]), tonumber(due or 0), found[4], found[5],
      found[6] }
  end
end
return answers
