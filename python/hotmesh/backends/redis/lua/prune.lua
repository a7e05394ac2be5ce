-- One page of deleting runs that closed h.older_than milliseconds ago or earlier. Bytes: the page's start ("" at first).
-- Answers {next start or "" at the end, how many were deleted}.
local from = take()
local oldest = from == '' and '-' or '(' .. from
local runs = call('ZRANGEBYLEX', P .. 'runs', oldest, '+', 'LIMIT', 0, h.scan)
local deleted = 0
for i = 1, #runs do
  local closed = call('HGET', P .. 'run:' .. runs[i], 'e')
  if closed and tonumber(closed) <= wall - h.older_than then
    delete_run(runs[i])
    deleted = deleted + 1
  end
end
return { #runs == h.scan and runs[#runs] or '', deleted }
