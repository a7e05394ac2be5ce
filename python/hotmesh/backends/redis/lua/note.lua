-- Write into the records of runs: bytes are run id, name, value of each.
for i = 2, #ARGV, 3 do
  local key = P .. 'run:' .. ARGV[i]
  if call('HEXISTS', key, 's') == 1 then
    put_attribute(key, ARGV[i + 1], ARGV[i + 2])
  end
end
count_names()
return {}
