-- One batch of an activity worker: finish, retry, renew, claim.
--
-- Waiting and claimed tasks are two zsets and not a stream with a consumer group: a claim must add
-- to the attempt, say whether the claim before was lost, and move the visibility time, all at once,
-- and a group's pending list can be given neither a delay nor a lease per entry.
--
-- Numbers: h.types says how many types the worker hosts, -1 for any; each is a look at the ends of
-- two zsets, whatever else waits. The names follow the router's id.
--
-- Answers {now, claimed rows, next due or "", lanes with results, beats recalled, beats lost,
-- finishes lost}; the last three are positions in the batch.

local router = take()
local types = {}
for i = 1, h.types do
  types[i] = take()
end
if h.types < 0 then
  types = call('SMEMBERS', P .. 'types:' .. h.queue)
end
local finish_run, finish_frame = column(#h.finish_seq), column(#h.finish_seq)
local retry_run, retry_state = column(#h.retry_seq), column(#h.retry_seq)
local beat_run = column(#h.beat_seq)

-- The columns of a task if this attempt is the one that is claimed.
local function claimed(run, seq, attempt)
  local found = call('HMGET', P .. 'task:' .. run .. seq, 'n', 'o', 'l', 'c', 'q', 'k', 'e')
  if tonumber(found[1] or -1) == attempt and found[2] ~= '' and found[3] and found[5]
    and found[6] then
    return found
  end
  return nil
end

local finished, lost_finishes = {}, {}
for i = 1, #h.finish_seq do
  local run, seq = ARGV[finish_run + i], h.finish_seq[i]
  local found = claimed(run, seq, h.finish_attempt[i])
  if found then
    delete_task(run, seq)
    if found[7] then
      note_ended(run, seq)
    end
    append(found[3], RESULT, run, ARGV[finish_frame + i])
    finished[found[3]] = true
  else
    lost_finishes[#lost_finishes + 1] = i
  end
end

for i = 1, #h.retry_seq do
  local run, seq = ARGV[retry_run + i], h.retry_seq[i]
  local found = claimed(run, seq, h.retry_attempt[i])
  if found then
    call('HSET', P .. 'task:' .. run .. seq, 'o', '', 'y', ARGV[retry_state + i])
    call('ZREM', claims_of(found[5], found[6]), run .. seq)
    call('ZADD', waiting_of(found[5], found[6]), text(now + h.retry_delay[i]), run .. seq)
  end
end

local recalled, lost_beats = {}, {}
for i = 1, #h.beat_seq do
  local run, seq = ARGV[beat_run + i], h.beat_seq[i]
  local state = h.beat_has_state[i] and take()
  local found = claimed(run, seq, h.beat_attempt[i])
  if not found then
    lost_beats[#lost_beats + 1] = i
  else
    if h.beat_lease[i] >= 0 then
      call('ZADD', claims_of(found[5], found[6]), text(now + h.beat_lease[i]), run .. seq)
    end
    if h.beat_outside[i] then
      call('HSET', P .. 'task:' .. run .. seq, 'o', OUTSIDE)
    end
    if state then
      call('HSET', P .. 'task:' .. run .. seq, 'y', state)
    end
    if found[4] then
      recalled[#recalled + 1] = i
    end
  end
end

-- What is due of all types: {due, member, lost, zset it waits in, zset of its claim}, the longest
-- due first.
local function due_tasks()
  local found, latest = {}, math.min(now, h.steady or now)
  local function add(members, lost, waiting, claims)
    for i = 1, #members, 2 do
      found[#found + 1] = { tonumber(members[i + 1]), members[i], lost, waiting, claims }
    end
  end
  for i = 1, #types do
    local waiting, claims = waiting_of(h.queue, types[i]), claims_of(h.queue, types[i])
    for lost, key in pairs({ [0] = waiting, [1] = claims }) do
      add(call('ZRANGEBYSCORE', key, '-inf', text(latest), 'WITHSCORES', 'LIMIT', 0, h.room),
        lost, waiting, claims)
    end
  end
  table.sort(found, function(a, b)
    if a[1] ~= b[1] then
      return a[1] < b[1]
    end
    return a[2] < b[2]
  end)
  return found
end

-- No task is claimed after the one with which there are h.bytes bytes.
local rows, bytes = {}, h.bytes
local function claim(task)
  local _, member, lost, waiting, claims = unpack(task)
  local key = P .. 'task:' .. member
  local found = call('HMGET', key, 'l', 'n', 'f', 'y', 'b')
  -- What is missing or damaged is for the worker to find: it knows whose the task is.
  local attempt = (tonumber(found[2]) or 0) + 1
  call('HSET', key, 'n', attempt, 'o', router)
  call('ZADD', claims, text(now + h.lease), member)
  if lost == 0 then
    call('ZREM', waiting, member)
  end
  rows[#rows + 1] = { string.sub(member, 1, RUN_ID_BYTES),
    tonumber(string.sub(member, RUN_ID_BYTES + 1)) or -1, tonumber(found[1]) or -1, attempt, lost,
    found[3] or '', found[4] or '', tonumber(found[5]) or -1 }
  bytes = bytes - #(found[3] or '') - #(found[4] or '')
end

if h.room > 0 then
  local due = due_tasks()
  for i = 1, math.min(#due, h.room) do
    if bytes <= 0 then
      break
    end
    claim(due[i])
  end
end

local next_due
for i = 1, #types do
  for _, key in ipairs({ waiting_of(h.queue, types[i]), claims_of(h.queue, types[i]) }) do
    local first = tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
    if first and (not next_due or first < next_due) then
      next_due = first
    end
  end
end
local lanes = {}
for lane in pairs(finished) do
  lanes[#lanes + 1] = tonumber(lane)
end
return { read, rows, next_due or '', lanes, recalled, lost_beats, lost_finishes }
