-- One batch of a router's pipe. Everything that can say no looks before anything is written: a
-- script that has begun to write is not undone. See Step in backends/protocol.py for the order.
--
-- Answers {FENCED, now}, {REFUSED, now, runs}, {STALE, now, runs} or {DONE, now, messages, starts
-- of runs, timers, late counter, start outcomes, send outcomes, mail lanes, how many large messages}.

local DONE, FENCED, REFUSED, STALE = 0, 1, 2, 3
local TIMERS_PER_LANE = 500
local LOST = -1

local router = take()
local journal_run, journal_frame = column(#h.journal_seq), column(#h.journal_seq)
local timer_run = column(#h.timer_lane)
local drop_timer_run = column(#h.drop_timer_lane)
local task_run, task_type = column(#h.task_seq), column(#h.task_seq)
local task_frame, task_state = column(#h.task_seq), column(#h.task_seq)
local outside_run = column(#h.outside_seq)
local drop_task_run = column(#h.drop_task_seq)
local recall_run, recall_frame = column(#h.recall_seq), column(#h.recall_seq)
local attribute_run, attribute_name = column(h.attributes), column(h.attributes)
local attribute_value = column(h.attributes)
local move_run = column(#h.move_from)
local close_run, close_result = column(#h.close_status), column(#h.close_status)

-- Runs that are not stored as the step believes. A journal grows by one frame at a time, so its
-- length is the only seq that may come next. Where a run has been closed, or is gone, its journal is
-- longer, or gone with it; only one without a journal has to be asked itself.
local function find_stale()
  local stale, next_seq = {}, {}
  for i = 1, #h.journal_seq do
    local run = ARGV[journal_run + i]
    local expected = next_seq[run]
    if not expected then
      expected = call('LLEN', P .. 'journal:' .. run)
      if expected == 0 and call('HGET', P .. 'run:' .. run, 's') ~= RUNNING then
        expected = nil
      end
    end
    if h.journal_seq[i] == expected then
      next_seq[run] = expected + 1
    else
      stale[#stale + 1] = run
    end
  end
  return stale
end

-- How many events of each run this step acknowledges (those still in the stream).
local function count_event_acks()
  local events, seen = {}, {}
  for i = 1, #h.event_acks do
    local lane, id = h.event_acks[i][1], h.event_acks[i][2]
    local found = not seen[id] and call('XRANGE', P .. 'lane:' .. lane, id, id)
    seen[id] = true
    if found and found[1] then
      local run = found[1][2][1]
      events[run] = (events[run] or 0) + 1
    end
  end
  return events
end

local function find_refused(events, closing)
  local refused = {}
  for i = 1, #h.close_status do
    local run = ARGV[close_run + i]
    local found = call('HMGET', P .. 'run:' .. run, 's', 'x', 'u', 'm')
    closing[i] = found
    if found[1] == RUNNING and (tonumber(found[3] or 0) or 0) > (events[run] or 0) then
      refused[#refused + 1] = run
    end
  end
  return refused
end

local function apply_acks(events)
  for lane, ids in pairs(h.acks) do
    for first = 1, #ids, DELETE_ARGS_MAX do
      call('XDEL', P .. 'lane:' .. lane, unpack(ids, first, math.min(first + DELETE_ARGS_MAX - 1, #ids)))
    end
  end
  for first = 1, #h.large_acks, DELETE_ARGS_MAX do
    local keys = {}
    for i = first, math.min(first + DELETE_ARGS_MAX - 1, #h.large_acks) do
      keys[#keys + 1] = P .. 'frame:' .. h.large_acks[i]
    end
    call('DEL', unpack(keys))
  end
  for run, count in pairs(events) do
    local unread = tonumber(call('HGET', P .. 'run:' .. run, 'u') or 0) or 0
    if unread > 0 and unread == math.floor(unread) then
      call('HINCRBY', P .. 'run:' .. run, 'u', -math.min(count, unread))
    end
  end
end

local function apply_timers()
  for i = 1, #h.timer_lane do
    local due = h.timer_due[i]
    call('ZADD', P .. 'timers:' .. h.timer_lane[i], due,
      ARGV[timer_run + i] .. due .. ':' .. h.timer_key[i])
  end
  for i = 1, #h.drop_timer_lane do
    call('ZREM', P .. 'timers:' .. h.drop_timer_lane[i],
      ARGV[drop_timer_run + i] .. h.drop_timer_due[i] .. ':' .. h.drop_timer_key[i])
  end
  for i = 1, #h.late do
    mark_late(h.late[i])
  end
end

-- A task whose first attempt is under way: a client completes it.
local function claim_outside(run, seq)
  local found = call('HMGET', P .. 'task:' .. run .. seq, 'o', 'n', 'q', 'k')
  if found[1] == '' and found[2] == '1' then
    local waiting, member = waiting_of(found[3], found[4]), run .. seq
    local due = call('ZSCORE', waiting, member) or text(now)
    call('HSET', P .. 'task:' .. run .. seq, 'o', OUTSIDE)
    call('ZREM', waiting, member)
    call('ZADD', claims_of(found[3], found[4]), due, member)
  end
end

local function apply_tasks()
  for i = 1, #h.task_seq do
    local run, seq, queue = ARGV[task_run + i], h.task_seq[i], h.task_queue[i]
    local attempt = h.task_attempt[i]
    local has_ended = attempt == LOST and call('HDEL', P .. 'run:' .. run, 'd:' .. seq) == 1
    if has_ended then
      delete_task(run, seq)
    elseif attempt == LOST then
      call('HDEL', P .. 'task:' .. run .. seq, 'e') -- the journal has it as a task now
    end
    if not has_ended and call('EXISTS', P .. 'task:' .. run .. seq) == 0 then
      local place = waiting_of(queue, ARGV[task_type + i])
      put_task(run, seq, queue, ARGV[task_type + i], h.task_lane[i], ARGV[task_frame + i],
        math.abs(attempt), ARGV[task_state + i], '')
      call('ZADD', place, text(now + h.task_delay[i]), run .. seq)
    end
  end
  for i = 1, #h.outside_seq do
    claim_outside(ARGV[outside_run + i], h.outside_seq[i])
  end
  for i = 1, #h.drop_task_seq do
    delete_task(ARGV[drop_task_run + i], h.drop_task_seq[i])
  end
  for i = 1, #h.recall_seq do
    local run, seq = ARGV[recall_run + i], h.recall_seq[i]
    local found = call('HMGET', P .. 'task:' .. run .. seq, 'o', 'l')
    if found[1] == '' then
      delete_task(run, seq)
      append(found[2], RESULT, run, ARGV[recall_frame + i])
    elseif found[1] and h.recall_claimed[i] then
      call('HSET', P .. 'task:' .. run .. seq, 'c', 1)
    end
  end
end

local function apply_attributes()
  for i = 1, h.attributes do
    local key, value = P .. 'run:' .. ARGV[attribute_run + i], ARGV[attribute_value + i]
    local name = ARGV[attribute_name + i]
    if value == '' then
      drop_attribute(key, name)
    elseif call('HEXISTS', key, 's') == 1 then
      put_attribute(key, name, value)
    end
  end
  count_names()
end

local function remove_waits(run)
  local counts = call('HKEYS', P .. 'waiting:' .. run)
  for i = 1, #counts do
    local waits = P .. 'waits:' .. counts[i]
    local waiters = call('LRANGE', waits, 0, -1)
    for j = 1, #waiters do
      if string.sub(waiters[j], 1, RUN_ID_BYTES) == run then
        call('LREM', waits, 1, waiters[j])
      end
    end
  end
  call('DEL', P .. 'waiting:' .. run)
end

local function apply_closes(closing)
  for i = 1, #h.close_status do
    local run, status, keep_s = ARGV[close_run + i], closing[i][1], tonumber(closing[i][2]) or -1
    if status == RUNNING then
      call('HSET', P .. 'run:' .. run, 's', h.close_status[i], 'o', ARGV[close_result + i],
        'e', text(wall))
      if keep_s >= 0 then
        call('ZADD', P .. 'expiring', text(wall + keep_s * 1000), run)
      end
    end
    if closing[i][4] then
      call('SREM', P .. 'moved:' .. closing[i][4], run)
      call('HDEL', P .. 'run:' .. run, 'm')
      local home = home_of(call('HGET', P .. 'run:' .. run, 'l'))
      call('HSET', P .. 'run:' .. run, 'l', home)
    end
    if h.close_waits[i] then
      remove_waits(run)
    end
  end
end

-- Waits: lanes; bytes are key, run id, frame. Mail that is there already is delivered at once.
local function apply_waits(lanes)
  local delivered = {}
  for i = 1, #lanes do
    local key, run, frame = take(), take(), take()
    local data = call('LPOP', P .. 'mail:' .. key)
    if data then
      append(lanes[i], RESULT, run, frame .. data)
      delivered[#delivered + 1] = lanes[i]
    else
      call('RPUSH', P .. 'waits:' .. key, run .. lanes[i] .. ':' .. frame)
      call('HINCRBY', P .. 'waiting:' .. run, key, 1)
    end
  end
  return delivered
end

-- The events of a run that nobody has read go along. There are none but those that this step has put
-- into the new lane, in nearly every case: the whole old lane is looked through for others.
local function move_events(run, from, to, message_run)
  local unread = tonumber(call('HGET', P .. 'run:' .. run, 'u') or 0)
  for i = 1, #h.message_lane do
    if h.message_kind[i] == EVENT and ARGV[message_run + i] == run then
      unread = unread - 1
    end
  end
  if unread <= 0 then
    return
  end
  local entries = call('XRANGE', P .. 'lane:' .. from, '-', '+')
  for i = 1, #entries do
    local id, pair = entries[i][1], entries[i][2]
    if pair[1] == run and kind_of(id) == EVENT then
      local frame = pair[2]
      call('XDEL', P .. 'lane:' .. from, id)
      if is_large(id) then
        frame = call('GET', frame_key(id)) or ''
        call('DEL', frame_key(id))
      end
      append(to, EVENT, run, frame)
    end
  end
end

-- The router's own queue is the home of the side queues that it moves runs to.
local function use_side_queue(queue, home, workflow_type)
  call('HSET', P .. 'side:' .. queue, 'home', home, 'used', text(now))
  call('HSET', P .. 'sides:' .. home, queue, workflow_type)
  call('SADD', P .. 'queues', queue)
end

local function apply_moves(message_run)
  local home = #h.move_from > 0 and call('HGET', P .. 'router:' .. router, 'q')
  for i = 1, #h.move_from do
    local run, from, to = ARGV[move_run + i], h.move_from[i], h.move_to[i]
    local key, queue = P .. 'run:' .. run, queue_of(to)
    local is_side = queue ~= home
    local found = call('HMGET', key, 'l', 's', 't', 'm')
    local owner = call('HGET', P .. 'owners:' .. queue_of(from), text(from % LANES_PER_QUEUE))
    if is_side and found[3] then
      use_side_queue(queue, home, found[3])
    end
    if tonumber(found[1] or -1) == from and found[2] == RUNNING
      and (not owner or owner == router) then
      call('HSET', key, 'l', to)
      move_events(run, from, to, message_run)
      if found[4] then
        call('SREM', P .. 'moved:' .. found[4], run)
        call('HDEL', key, 'm')
      end
      if is_side then
        call('SADD', P .. 'moved:' .. queue, run)
        call('HSET', key, 'm', queue)
      end
    end
  end
end

-- Messages come flat: lane, id, run id, frame; of a large one its bytes, a number, in place of the
-- frame. A START that is not large brings its run's columns in a second list. No message follows the
-- one with which there are h.bytes bytes.
local function read_messages()
  local rows, starts, room, bytes, large = {}, {}, h.room, h.bytes, 0

  local function read_lane(lane, from)
    local count = FEW
    while room > 0 and bytes > 0 do
      local entries = call('XRANGE', P .. 'lane:' .. lane, from, '+', 'COUNT', math.min(room, count))
      local before = bytes
      for j = 1, #entries do
        if bytes <= 0 then
          return
        end
        local id, pair, n = entries[j][1], entries[j][2], #rows
        rows[n + 1], rows[n + 2], rows[n + 3], rows[n + 4] = lane, id, pair[1], pair[2]
        room = room - 1
        if is_large(id) then
          rows[n + 4] = tonumber(pair[2]) or 0
          large = large + 1
        else
          bytes = bytes - #pair[2]
          if kind_of(id) == START then
            local found, more = columns_of_start(pair[1], lane)
            starts[#starts + 1] = found
            bytes = bytes - more
          end
        end
      end
      if #entries < count then
        return
      end
      from, count = '(' .. entries[#entries][1], more_at_once(count, before - bytes)
    end
  end

  for i = 1, #h.lanes do
    read_lane(h.lanes[i], h.cursors[i])
  end
  return rows, starts, large
end

-- A lane's timers are read up to the horizon, then only what the horizon has moved over; a late
-- timer makes the lane be read from the beginning. Answers {lane, read until, members} of the
-- lanes that were looked at.
local function read_timers()
  local target, late, answers = now + h.horizon, {}, {}
  local marked = call('ZRANGEBYSCORE', P .. 'late', '(' .. h.late_seen, '+inf')
  for i = 1, #marked do
    late[tonumber(marked[i]) or 0] = true
  end
  for i = 1, #h.lanes do
    local lane, read_until = h.lanes[i], h.timers_until[i]
    if late[lane] or target - read_until >= h.slack then
      local key, first = P .. 'timers:' .. lane, late[lane] and '-inf' or '(' .. text(read_until)
      local members = call('ZRANGEBYSCORE', key, first, text(target), 'LIMIT', 0, TIMERS_PER_LANE)
      local reached = target
      if #members == TIMERS_PER_LANE then
        local due = call('ZSCORE', key, members[#members])
        local same = call('ZRANGEBYSCORE', key, due, due)
        for j = 1, #same do
          members[#members + 1] = same[j]
        end
        reached = tonumber(due)
      end
      answers[#answers + 1] = { lane, reached, members }
    end
  end
  return answers, tonumber(call('GET', P .. 'late_counter') or 0) or h.late_seen
end

if call('HGET', P .. 'router:' .. router, 'alive') ~= '1' then
  return { FENCED, read }
end
local stale = find_stale()
if #stale > 0 then
  return { STALE, read, stale }
end
local events, closing = count_event_acks(), {}
local refused = find_refused(events, closing)
if #refused > 0 then
  return { REFUSED, read, refused }
end

for i = 1, #h.journal_seq do
  call('RPUSH', P .. 'journal:' .. ARGV[journal_run + i], ARGV[journal_frame + i])
end
apply_acks(events)
apply_timers()
apply_tasks()
apply_attributes()
apply_closes(closing)
local start_outcomes = start_runs(h.starts)
local moved = {}
for i = 1, #h.move_from do
  moved[ARGV[move_run + i]] = true
end
local message_run = post_messages(h.message_lane, h.message_kind, moved)
apply_moves(message_run)
local send_outcomes = send_messages(h.sends)
local mail_lanes = deliver_mails(h.mails, apply_waits(h.waits))
for _ = 1, h.replies do
  call('SET', P .. 'reply:' .. take(), take(), 'EX', h.reply_ttl, 'NX')
end
if #h.close_status > 0 then
  -- Twice what was closed: deleting keeps up with closing, whatever the rate.
  delete_expired(2 * #h.close_status)
end

local messages, started, large = read_messages()
local timers, late_counter = {}, h.late_seen
if #h.lanes > 0 then
  timers, late_counter = read_timers()
end
return { DONE, read, messages, started, timers, late_counter, start_outcomes, send_outcomes, mail_lanes, large }
