-- One page of what waits in a lane (h.kind "message" or "timer"), in a queue ("task"), or of the runs
-- that wait for mail ("wait"). Answers {next start or "" at the end, rows, flat}: run id and number, of
-- tasks the lane ("" if the task itself is gone) and type too.
local start = take()
local rows = {}

local function number_of(text)
  return tonumber(text) or 0
end

if h.kind == 'message' then
  local from = start == '' and '-' or '(' .. start
  local found = call('XRANGE', P .. 'lane:' .. h.lane, from, '+', 'COUNT', h.limit)
  for i = 1, #found do
    rows[#rows + 1] = found[i][2][1]
    rows[#rows + 1] = number_of(string.match(found[i][1], '^(%d+)'))
  end
  return { #found == h.limit and found[#found][1] or '', rows }
end

local function members(key, from)
  return call('ZRANGE', key, from, from + h.limit - 1)
end

if h.kind == 'timer' then
  local from = number_of(start)
  local found = members(P .. 'timers:' .. h.lane, from)
  for i = 1, #found do
    rows[#rows + 1] = string.sub(found[i], 1, RUN_ID_BYTES)
    rows[#rows + 1] = number_of(string.match(string.sub(found[i], RUN_ID_BYTES + 1), ':(-?%d+)$'))
  end
  return { #found == h.limit and text(from + #found) or '', rows }
end

if h.kind == 'task' then
  local types = call('SMEMBERS', P .. 'types:' .. h.queue)
  table.sort(types)
  local sets = {}
  for i = 1, #types do
    sets[#sets + 1] = P .. 'tasks:' .. h.queue .. ':' .. types[i]
    sets[#sets + 1] = P .. 'claims:' .. h.queue .. ':' .. types[i]
  end
  local at, from = string.match(start, '^(%d+):(%d+)$')
  at, from = number_of(at), number_of(from)
  if at >= #sets then
    return { '', rows }
  end
  local found = members(sets[at + 1], from)
  for i = 1, #found do
    rows[#rows + 1] = string.sub(found[i], 1, RUN_ID_BYTES)
    rows[#rows + 1] = number_of(string.sub(found[i], RUN_ID_BYTES + 1))
    rows[#rows + 1] = call('HGET', P .. 'task:' .. found[i], 'l') or ''
    rows[#rows + 1] = types[math.floor(at / 2) + 1]
  end
  if #found == h.limit then
    return { at .. ':' .. (from + #found), rows }
  end
  return { (at + 1) .. ':0', rows }
end

local runs = call('ZRANGEBYLEX', P .. 'runs', start == '' and '-' or '(' .. start, '+', 'LIMIT', 0, h.limit)
for i = 1, #runs do
  if call('HLEN', P .. 'waiting:' .. runs[i]) > 0 then
    rows[#rows + 1] = runs[i]
    rows[#rows + 1] = 0
  end
end
return { #runs == h.limit and runs[#runs] or '', rows }
