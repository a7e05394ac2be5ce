-- One page of the scan through all runs, newest first: looks at h.scan runs, stops at h.limit
-- matches. Bytes: before, workflow id, type, then name and value of each wanted attribute.
-- Answers {next "before" or "" at the end, rows of {run id, its hash flat}}.
local before, workflow_id, workflow_type = take(), take(), take()

local function matches(run)
  local found = call('HMGET', P .. 'run:' .. run, 's', 'w', 't')
  if not found[1]
    or (h.status ~= 0 and tonumber(found[1]) ~= h.status)
    or (workflow_id ~= '' and found[2] ~= workflow_id)
    or (workflow_type ~= '' and found[3] ~= workflow_type) then
    return false
  end
  for i = taken + 1, #ARGV, 2 do
    if call('HGET', P .. 'run:' .. run, 'a:' .. ARGV[i]) ~= ARGV[i + 1] then
      return false
    end
  end
  return true
end

local newest = before == '' and '+' or '(' .. before
local runs = call('ZREVRANGEBYLEX', P .. 'runs', newest, '-', 'LIMIT', 0, h.scan)
local rows = {}
for i = 1, #runs do
  if matches(runs[i]) then
    rows[#rows + 1] = { runs[i], call('HGETALL', P .. 'run:' .. runs[i]) }
    if #rows == h.limit then
      return { runs[i], rows }
    end
  end
end
return { #runs == h.scan and runs[#runs] or '', rows }
