-- Publish hints: bytes are channel, payload of each.
for i = 2, #ARGV, 2 do
  call('PUBLISH', ARGV[i], ARGV[i + 1])
end
return {}
