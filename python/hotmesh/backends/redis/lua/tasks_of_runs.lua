-- The most tried activity tasks of each of h.runs runs: {how many it has, h.limit tasks at most}, up to
-- the run with which they have h.bytes bytes. Bytes: run ids.
local LOOKED_AT_MAX = 1000 -- tasks of one run; of more it is luck which

local function most_tried(run)
  local key, tried = P .. 'open:' .. run, {}
  local total = call('SCARD', key)
  local seqs = total <= LOOKED_AT_MAX and call('SMEMBERS', key)
    or call('SRANDMEMBER', key, LOOKED_AT_MAX)
  for i = 1, #seqs do
    local attempts = tonumber(call('HGET', P .. 'task:' .. run .. seqs[i], 'n') or 0) or 0
    tried[i] = { tonumber(seqs[i]), attempts }
  end
  table.sort(tried, function(a, b)
    if a[2] ~= b[2] then
      return a[2] > b[2]
    end
    return a[1] < b[1]
  end)
  return tried, total
end

local answers, room = {}, h.bytes
for _ = 1, h.runs do
  if room <= 0 then
    break
  end
  local run = take()
  local tried, total = most_tried(run)
  local rows = {}
  for i = 1, math.min(#tried, h.limit) do
    local row = look_at_task(run, text(tried[i][1]))
    if row then
      row[1] = tried[i][1]
      rows[#rows + 1] = row
      room = room - #row[5] - #row[6]
    end
  end
  answers[#answers + 1] = { total, rows }
end
return answers
