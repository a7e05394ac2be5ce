-- One batch of an activity worker: finish, retry, renew, claim.
--
-- Waiting and claimed tasks are two zsets and not a stream with a consumer group: a claim must add
-- to the attempt, say whether the claim before was lost, and move the visibility time, all at once,
-- and a group's pending list can be given neither a delay nor a lease per entry.
--
-- Answers {now, claimed rows, next due or "", lanes with results, beats recalled, beats lost,
-- finishes lost}; the last three are positions in the batch.

local router = take()
local finish_run, finish_frame = column(#h.finish_seq), column(#h.finish_seq)
local retry_run, retry_state = column(#h.retry_seq), column(#h.retry_seq)
local beat_run = column(#h.beat_seq)
local waiting, claims = P .. 'tasks:' .. h.queue, P .. 'claims:' .. h.queue

-- The columns of a task if this attempt is the one that is claimed.
local function claimed(run, seq, attempt)
  local found = call('HMGET', P .. 'task:' .. run .. seq, 'n', 'o', 'l', 'c', 'q')
  if tonumber(found[1] or -1) == attempt and found[2] ~= '' then
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
    call('ZREM', P .. 'claims:' .. found[5], run .. seq)
    call('ZADD', P .. 'tasks:' .. found[5], text(now + h.retry_delay[i]), run .. seq)
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
    call('ZADD', P .. 'claims:' .. found[5], text(now + h.beat_lease[i]), run .. seq)
    if state then
      call('HSET', P .. 'task:' .. run .. seq, 'y', state)
    end
    if found[4] then
      recalled[#recalled + 1] = i
    end
  end
end

local rows = {}
local function claim(members, lost)
  for i = 1, #members do
    local member = members[i]
    local key = P .. 'task:' .. member
    local found = call('HMGET', key, 'l', 'n', 'f', 'y', 'b')
    local attempt = tonumber(found[2]) + 1
    call('HSET', key, 'n', attempt, 'o', router)
    call('ZADD', claims, text(now + h.lease), member)
    rows[#rows + 1] = { string.sub(member, 1, RUN_ID_BYTES),
      tonumber(string.sub(member, RUN_ID_BYTES + 1)), tonumber(found[1]), attempt, lost,
      found[3], found[4], tonumber(found[5]) }
  end
end

if h.room > 0 then
  local overdue = call('ZRANGEBYSCORE', claims, '-inf', text(now), 'LIMIT', 0, h.room)
  local due = call('ZRANGEBYSCORE', waiting, '-inf', text(now), 'LIMIT', 0, h.room - #overdue)
  claim(overdue, 1)
  claim(due, 0)
  for first = 1, #due, DELETE_ARGS_MAX do
    call('ZREM', waiting, unpack(due, first, math.min(first + DELETE_ARGS_MAX - 1, #due)))
  end
end

local next_due = tonumber(call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2])
local next_lost = tonumber(call('ZRANGE', claims, 0, 0, 'WITHSCORES')[2])
if next_lost and (not next_due or next_lost < next_due) then
  next_due = next_lost
end
local lanes = {}
for lane in pairs(finished) do
  lanes[#lanes + 1] = tonumber(lane)
end
return { now, rows, next_due or '', lanes, recalled, lost_beats, lost_finishes }
