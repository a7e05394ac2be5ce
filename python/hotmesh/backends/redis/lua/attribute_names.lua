-- One page of the scan through all runs for the names in their records. Bytes: before. Answers {next
-- "before" or "" at the end, names}.
local before = take()
local newest = before == '' and '+' or '(' .. before
local runs = call('ZREVRANGEBYLEX', P .. 'runs', newest, '-', 'LIMIT', 0, h.scan)
local seen, names = {}, {}
for i = 1, #runs do
  local columns = call('HKEYS', P .. 'run:' .. runs[i])
  for j = 1, #columns do
    local column = columns[j]
    if string.sub(column, 1, 2) == 'a:' and not seen[column] then
      seen[column] = true
      names[#names + 1] = string.sub(column, 3)
    end
  end
end
return { #runs == h.scan and runs[#runs] or '', names }
