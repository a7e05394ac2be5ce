-- What every script starts with: keys, the clock, the stream, runs and mail.
--
-- KEYS[1] is "{prefix:namespace}:". All keys of a namespace start with it, so they share one hash
-- slot and a script may build the others itself, on a cluster too. It is no key itself, so that a
-- cluster refuses scripts while it moves the slot. ARGV[1] is a JSON object with
-- every number of the batch; the byte strings follow it, column after column.
--
-- Keys (after KEYS[1]):
--   clock_shift        by how much the store's time is ahead of the wall clock
--   counter            last message number handed out
--   lane:<lane>        stream of unhandled messages; id "<number>-<kind>", one field: run id, frame.
--                      A large one (of a start with its run's header and input) has a kind that is 4
--                      more, and the number of its bytes in the place of its frame
--   frame:<number>     the frame of a large message, so that nobody reads it in vain
--   timers:<lane>      zset, score = due, member = run id .. due .. ":" .. key
--   late               zset of lanes that got a timer from someone other than their reader
--   late_counter       its newest score
--   run:<run id>       hash: s status, w workflow id, t type, l lane, h header, i input, o result,
--                      b started, e closed, x seconds kept, u unread events, m side queue while
--                      it is open in one, p the run that had the workflow id before, if any,
--                      a:<name> attributes, d:<seq> an activity that has ended before the journal
--                      has it as a task: there is to be no other task of it
--   names              hash, name of an attribute = how many runs have it
--   current:<wf id>    run id of the id's newest run
--   journal:<run id>   list of frames; a frame's seq is its index
--   runs               zset of all run ids, in lexical (so in time) order
--   expiring           zset of closed run ids, score = when they are to be deleted
--   task:<run id><seq> hash: q queue id, k activity type, l lane, f frame, n attempts used, y state, b scheduled,
--                      o owner ("" while unclaimed), c cancel requested, e held by a router that
--                      stood down: the journal does not have it as a task yet
--   open:<run id>      set of the seqs of the run's tasks
--   tasks:<queue>:<k>  zset of waiting tasks (run id .. seq) of a type, score = due
--   claims:<queue>:<k> zset of claimed tasks, score = end of the claim's lease
--   types:<queue>      set of the types that have tasks, waiting or claimed
--   mail:<key>         list of data nobody has waited for yet
--   waits:<key>        list of waiters: run id .. lane .. ":" .. frame
--   waiting:<run id>   hash, mail key = how many waits
--   reply:<reply id>   a reply to a client, with a time to live
--   router:<id>        hash: alive, q queue id, seen, info, beats
--   leases             zset of live routers, score = end of the lease
--   rollcall           zset of routers dead or alive, score = last seen
--   members:<queue>    set of live routers that host workflows
--   owners:<queue>     hash, lane's index in its queue = router id
--   queues             set of the queue ids that routers have served
--   sides:<queue>      hash of its side queues: id = workflow type
--   side:<queue>       hash of a side queue: home (its task queue), used (when last moved to)
--   moved:<queue>      set of the open runs in a side queue

local P = KEYS[1]
local call = redis.call

-- `needed` is set before this file. Servers before Redis 7 can't be asked.
local missing = {}
for i = 1, redis.acl_check_cmd and #needed or 0 do
  if not redis.acl_check_cmd(needed[i], P) then
    missing[#missing + 1] = string.lower(needed[i])
  end
end
if #missing > 0 then
  return redis.error_reply('NOPERM on keys that begin with ' .. P .. ' this user may not run '
    .. table.concat(missing, ', '))
end

local h = ARGV[1] and cjson.decode(ARGV[1]) or {}

local RUNNING = '1'
local OUTSIDE = 'outside' -- has the claims of attempts that a client completes
local START, EVENT, RESULT, END = 0, 1, 2, 3
local RUN_ID_BYTES = 16
local LANES_PER_QUEUE = 64
local NUMBERS_PER_BLOCK = 100
local DELETE_ARGS_MAX = 1000
local FEW = 8 -- how many large values are read in vain at most
local MANY = 512
local SMALL_BYTES = 64 * 1024
local SMALL_MESSAGE_BYTES = 256 * 1024 -- SMALL_BYTES_MAX in limits.py
local LARGE = 4 -- added to a kind
local LATE_WITHIN_MS = 60 * 1000 -- no reader's horizon is further away

local clock = call('TIME')
local wall = clock[1] * 1000 + math.floor(clock[2] / 1000)
local shift = tonumber(call('GET', P .. 'clock_shift') or 0)
if not shift or math.abs(shift) > 3162240000000 then -- CLOCK_SHIFT_MS_MAX in limits.py
  return redis.error_reply('ERR the key ' .. P .. 'clock_shift is damaged, it is no number that can be: set it to '
    .. 'milliseconds by which the time of this database is ahead of the clock, 0 as a rule')
end
local read = wall + shift
-- The store's time: what is due and leases go by it, it does not jump. A caller who takes it for
-- h.steady or later may have seen a jump that was not taken out yet.
local STEADY_MS = 60000
local now = h.steady and math.max(h.steady, math.min(read, h.steady + STEADY_MS)) or read

-- Byte columns are consumed in order: column(n) is the offset of the next n of them.
local taken = 1
local function column(n)
  local offset = taken
  taken = taken + n
  return offset
end

local function take()
  taken = taken + 1
  return ARGV[taken]
end

local function text(number)
  return string.format('%.0f', number)
end

-- How many to read next after `count` of them had so many bytes.
local function more_at_once(count, bytes)
  return bytes <= SMALL_BYTES and math.min(4 * count, MANY) or FEW
end

-- Frames of a journal from a seq on, up to the one with which they have so many bytes.
local function journal_page(run, from, room)
  local frames, count = {}, FEW
  while room > 0 do
    local found = call('LRANGE', P .. 'journal:' .. run, from, from + count - 1)
    local before = room
    for i = 1, #found do
      if room <= 0 then
        break
      end
      frames[#frames + 1] = found[i]
      room = room - #found[i]
    end
    if #found < count then
      break
    end
    from, count = from + #found, more_at_once(count, before - room)
  end
  return frames
end

-- Numbers are reserved in blocks before they are used, so even a script that dies in the middle
-- leaves a counter that is ahead of every stream. Gaps mean nothing.
local number, last_reserved = 0, -1
local function append(lane, kind, run, frame, more_bytes)
  number = number + 1
  if number > last_reserved then
    last_reserved = redis.pcall('INCRBY', P .. 'counter', NUMBERS_PER_BLOCK)
    if type(last_reserved) == 'table' then
      -- It is damaged, and this script may have begun to write. More than any stream has seen:
      last_reserved = wall * NUMBERS_PER_BLOCK
      call('SET', P .. 'counter', text(last_reserved))
    end
    number = last_reserved - NUMBERS_PER_BLOCK + 1
  end
  local size = #frame + (more_bytes or 0)
  if size >= SMALL_MESSAGE_BYTES then
    call('SET', P .. 'frame:' .. text(number), frame)
    kind, frame = kind + LARGE, text(size)
  end
  call('XADD', P .. 'lane:' .. lane, text(number) .. '-' .. kind, run, frame)
end

local function kind_of(id)
  return (string.byte(id, -1) - 48) % LARGE
end

local function is_large(id)
  return string.byte(id, -1) >= 48 + LARGE
end

local function frame_key(id)
  return P .. 'frame:' .. string.match(id, '^%d+')
end

-- What a message's run adds to it: five columns, and how many bytes they have.
local function columns_of_start(run, lane)
  local found = call('HMGET', P .. 'run:' .. run, 'w', 't', 'h', 'i', 'l')
  if not found[5] or tonumber(found[5]) == lane then
    found[5] = call('EXISTS', P .. 'journal:' .. run)
  else
    found[5] = 1 -- moved: it is to be looked up
  end
  return found, #(found[3] or '') + #(found[4] or '')
end

-- A run can't close while it has unread events: count them.
local function append_event(lane, run, frame)
  append(lane, EVENT, run, frame)
  local key = P .. 'run:' .. run
  -- A number that is damaged must not stop a script that has begun to write.
  if type(redis.pcall('HINCRBY', key, 'u', 1)) == 'table' then
    call('HSET', key, 'u', 1)
  end
end

-- Tell the lane's reader to look at all its timers again: this one may lie behind its cursor.
local function mark_late(lane)
  local count = redis.pcall('INCR', P .. 'late_counter')
  if type(count) == 'table' then -- as above
    count = wall
    call('SET', P .. 'late_counter', text(count))
  end
  call('ZADD', P .. 'late', text(count), lane)
end

local named = {}
local function put_attribute(key, name, value)
  if call('HSET', key, 'a:' .. name, value) == 1 then
    named[name] = (named[name] or 0) + 1
  end
end

-- Whoever has put attributes counts their names after that: once each, since every write is one of
-- the append-only file.
local function count_names()
  for name, count in pairs(named) do
    if count > 0 then
      -- A number that is damaged must not stop a script that has begun to write.
      redis.pcall('HINCRBY', P .. 'names', name, count)
    end
  end
  named = {}
end

local function forget_name(name)
  if (named[name] or 0) > 0 then -- not counted yet
    named[name] = named[name] - 1
    return
  end
  local left = redis.pcall('HINCRBY', P .. 'names', name, -1)
  if type(left) == 'table' or left <= 0 then
    call('HDEL', P .. 'names', name)
  end
end

local function drop_attribute(key, name)
  if call('HDEL', key, 'a:' .. name) == 1 then
    forget_name(name)
  end
end

local function delete_run(run)
  local workflow_id = call('HGET', P .. 'run:' .. run, 'w')
  local columns = call('HKEYS', P .. 'run:' .. run)
  for i = 1, #columns do
    if string.sub(columns[i], 1, 2) == 'a:' then
      forget_name(string.sub(columns[i], 3))
    end
  end
  call('DEL', P .. 'run:' .. run, P .. 'journal:' .. run, P .. 'waiting:' .. run)
  call('ZREM', P .. 'runs', run)
  call('ZREM', P .. 'expiring', run)
  if workflow_id and call('GET', P .. 'current:' .. workflow_id) == run then
    call('DEL', P .. 'current:' .. workflow_id)
  end
end

local function delete_expired(count)
  local runs = call('ZRANGEBYSCORE', P .. 'expiring', '-inf', '(' .. text(wall), 'LIMIT', 0, count)
  for i = 1, #runs do
    delete_run(runs[i])
  end
end

local function has_frame(run, frame)
  local from = 0
  while true do
    local frames = journal_page(run, from, SMALL_BYTES)
    for i = 1, #frames do
      if string.find(frames[i], frame, 1, true) then
        return true
      end
    end
    if #frames == 0 then
      return false
    end
    from = from + #frames
  end
end

-- The run that has handled a message that is sent again, and has closed since: one of a workflow id,
-- from its newest run back, or the one that is named. (An open run drops what it has had already
-- by itself.)
local function heard(newest, named, frame, again_ms)
  local run = newest
  while run do
    local found = call('HMGET', P .. 'run:' .. run, 's', 'e', 'p')
    local status, closed = found[1], tonumber(found[2] or '')
    if not status or (status ~= RUNNING and (not closed or closed < wall - again_ms)) then
      return nil
    end
    if status ~= RUNNING and has_frame(run, frame) then
      return run
    end
    run = not named and found[3]
  end
  return nil
end

-- Starts: numbers are {lane, reuse, conflict, delay, expire, attributes, events, whether only one
-- closed run may be taken over, again}; the bytes of an item are run id, workflow id, type, header,
-- input, frame, then name and value of each attribute, then each event, then that run.
local FAILED_STATUSES = { ['3'] = true, ['4'] = true, ['5'] = true, ['7'] = true }
local ALLOW_DUPLICATE, ALLOW_FAILED_ONLY, USE_EXISTING = 1, 2, 2

local function create_run(item, at, run, workflow_id, previous)
  local lane, delay, attributes = item[1], item[4], item[6]
  local key = P .. 'run:' .. run
  call('HSET', key, 's', RUNNING, 'w', workflow_id, 't', ARGV[at + 3], 'l', lane,
    'h', ARGV[at + 4], 'i', ARGV[at + 5], 'b', text(wall), 'x', item[5])
  if previous then
    call('HSET', key, 'p', previous)
  end
  for i = at + 7, at + 5 + 2 * attributes, 2 do
    put_attribute(key, ARGV[i], ARGV[i + 1])
  end
  call('ZADD', P .. 'runs', 0, run)
  if delay > 0 then
    local due = text(now + delay)
    call('ZADD', P .. 'timers:' .. lane, due, run .. due .. ':0')
    if delay <= LATE_WITHIN_MS then
      mark_late(lane)
    end
  else
    append(lane, START, run, ARGV[at + 6], #ARGV[at + 4] + #ARGV[at + 5])
  end
end

local function deliver_start_events(item, at, run, lane)
  local first = at + 7 + 2 * item[6]
  for i = first, first + item[7] - 1 do
    append_event(lane, run, ARGV[i])
  end
end

-- The id is taken: look at who holds it. Returns nil where the start may go on.
local function start_conflict(item, at, run, holder)
  local own = call('HGET', P .. 'run:' .. run, 's')
  if own then
    return { 1, run, tonumber(own) }
  end
  if item[9] > 0 and item[7] > 0 then
    local hearer = heard(holder, false, ARGV[at + 7 + 2 * item[6]], item[9])
    if hearer then
      return { 0, hearer, 1 } -- as it was when it took the events
    end
  end
  local found = call('HMGET', P .. 'run:' .. holder, 's', 'l')
  local status = found[1]
  if status == RUNNING then
    if item[3] == USE_EXISTING then
      deliver_start_events(item, at, holder, found[2])
    end
    return { 0, holder, 1 }
  end
  local reusable = not status or item[2] == ALLOW_DUPLICATE
    or (item[2] == ALLOW_FAILED_ONLY and FAILED_STATUSES[status])
  if reusable and (not status or not item[8] or ARGV[at + 7 + 2 * item[6] + item[7]] == holder) then
    return nil
  end
  return { 0, holder, tonumber(status) }
end

local function start_run(item)
  local at = column(6 + 2 * item[6] + item[7] + (item[8] and 1 or 0))
  local run, workflow_id = ARGV[at + 1], ARGV[at + 2]
  local current, previous = P .. 'current:' .. workflow_id, nil
  if call('SETNX', current, run) == 0 then
    previous = call('GET', current)
    local outcome = start_conflict(item, at, run, previous)
    if outcome then
      return outcome
    end
    call('SET', current, run)
  end
  create_run(item, at, run, workflow_id, previous)
  deliver_start_events(item, at, run, item[1])
  return { 1, run, 1 }
end

local function start_runs(items)
  local outcomes = {}
  for i = 1, #items do
    outcomes[i] = start_run(items[i])
  end
  count_names()
  return outcomes
end

local function queue_of(lane)
  return text((lane - lane % LANES_PER_QUEUE) / LANES_PER_QUEUE)
end

-- The lane of what takes no code of its run, and as what kind of message it goes there.
local function home_of(lane)
  local home = tonumber(call('HGET', P .. 'side:' .. queue_of(lane), 'home') or nil)
  if not home then
    return lane, EVENT
  end
  return text(home * LANES_PER_QUEUE + lane % LANES_PER_QUEUE), RESULT
end

-- Sends: numbers are {kind, allow closed (0 or 1), again}; bytes are workflow id, run id or "", frame.
local function send_message(item)
  local workflow_id, run, frame = take(), take(), take()
  local named, is_heard = run ~= '', false
  if not named then
    run = call('GET', P .. 'current:' .. workflow_id) or ''
  end
  if item[3] > 0 and item[2] == 0 then
    local hearer = heard(run, named, frame, item[3])
    run, is_heard = hearer or run, hearer ~= nil
  end
  local found = call('HMGET', P .. 'run:' .. run, 's', 'l', 'w')
  local status, lane = found[1], found[2]
  if not status or found[3] ~= workflow_id then
    return { 0, '', 0, 0 }
  end
  if is_heard then
    return { 1, run, tonumber(status), tonumber(lane) }
  end
  local kind = item[1]
  if kind == END then
    lane, kind = home_of(lane)
  end
  if status == RUNNING and kind == EVENT then
    append_event(lane, run, frame)
  elseif status == RUNNING or item[2] == 1 then
    append(lane, kind, run, frame)
  else
    return { 0, run, tonumber(status), tonumber(lane) }
  end
  return { 1, run, tonumber(status), tonumber(lane) }
end

local function send_messages(items)
  local outcomes = {}
  for i = 1, #items do
    outcomes[i] = send_message(items[i])
  end
  return outcomes
end

-- Messages to known lanes; none to a run that is not there. One to a closed run goes to the run's own
-- lane, as the one that it was in may be read no more, unless `moved` names the run: that step sees to
-- it that the lane is read. Numbers are columns of lanes and kinds,
-- bytes columns of runs, frames. Returns the offset of the runs.
local function post_messages(lanes, kinds, moved)
  local runs, frames = column(#lanes), column(#lanes)
  for i = 1, #lanes do
    local run = ARGV[runs + i]
    local found = call('HMGET', P .. 'run:' .. run, 's', 'l')
    local status = found[1]
    if kinds[i] == EVENT and status == RUNNING then
      append_event(lanes[i], run, ARGV[frames + i])
    elseif status == RUNNING then
      append(lanes[i], kinds[i], run, ARGV[frames + i])
    elseif status then
      append(not moved[run] and found[2] or lanes[i], kinds[i], run, ARGV[frames + i])
    end
  end
  return runs
end

-- One datum meets one waiter. Bytes are key, datum. Returns the lane delivered to, if any.
local function deliver_mail()
  local key, data = take(), take()
  local waiter = call('LPOP', P .. 'waits:' .. key)
  if not waiter then
    call('RPUSH', P .. 'mail:' .. key, data)
    return nil
  end
  local colon = string.find(waiter, ':', RUN_ID_BYTES + 1, true)
  local run = string.sub(waiter, 1, RUN_ID_BYTES)
  local lane = string.sub(waiter, RUN_ID_BYTES + 1, colon - 1)
  append(lane, RESULT, run, string.sub(waiter, colon + 1) .. data)
  if call('HINCRBY', P .. 'waiting:' .. run, key, -1) <= 0 then
    call('HDEL', P .. 'waiting:' .. run, key)
  end
  return tonumber(lane)
end

local function deliver_mails(count, lanes)
  for _ = 1, count do
    lanes[#lanes + 1] = deliver_mail()
  end
  return lanes
end

-- Tasks are kept by type, so that a claim never looks at what its worker does not host.
local function waiting_of(queue, activity_type)
  return P .. 'tasks:' .. queue .. ':' .. activity_type
end

local function claims_of(queue, activity_type)
  return P .. 'claims:' .. queue .. ':' .. activity_type
end

-- Who puts a task adds it to the zset that it belongs to.
local function put_task(run, seq, queue, activity_type, lane, frame, attempt, state, owner)
  call('HSET', P .. 'task:' .. run .. seq, 'q', queue, 'k', activity_type, 'l', lane,
    'f', frame, 'n', attempt, 'y', state, 'b', text(now), 'o', owner)
  call('SADD', P .. 'types:' .. queue, activity_type)
  call('SADD', P .. 'open:' .. run, seq)
end

local function delete_task(run, seq)
  local key = P .. 'task:' .. run .. seq
  local found = call('HMGET', key, 'q', 'k')
  if found[1] then
    local waiting, claims = waiting_of(found[1], found[2]), claims_of(found[1], found[2])
    call('DEL', key)
    call('SREM', P .. 'open:' .. run, seq)
    call('ZREM', waiting, run .. seq)
    call('ZREM', claims, run .. seq)
    if call('EXISTS', waiting, claims) == 0 then
      call('SREM', P .. 'types:' .. found[1], found[2])
    end
  end
end

-- A task for who looks at it from outside: {seq, attempts, due, owner, frame, state, scheduled, recalled};
-- nil if there is none.
local function look_at_task(run, seq)
  local found = call('HMGET', P .. 'task:' .. run .. seq, 'q', 'k', 'n', 'o', 'f', 'y', 'b', 'c')
  if not (found[1] and found[2]) then
    return nil
  end
  local due = call('ZSCORE', waiting_of(found[1], found[2]), run .. seq)
    or call('ZSCORE', claims_of(found[1], found[2]), run .. seq)
  return { seq, tonumber(found[3]) or 0, tonumber(due or 0), found[4] or '', found[5] or '',
    found[6] or '', tonumber(found[7]) or 0, found[8] and 1 or 0 }
end

-- An activity has ended that its run's journal may not have as a task.
local function note_ended(run, seq)
  call('HSET', P .. 'run:' .. run, 'd:' .. seq, 1)
end

local function free_lanes(owner, of_queue)
  local owners = call('HGETALL', P .. 'owners:' .. of_queue)
  for i = 1, #owners, 2 do
    if owners[i + 1] == owner then
      call('HDEL', P .. 'owners:' .. of_queue, owners[i])
    end
  end
end

local function declare_dead(silent)
  local of_queue = call('HGET', P .. 'router:' .. silent, 'q')
  call('ZREM', P .. 'leases', silent)
  if of_queue then
    call('HSET', P .. 'router:' .. silent, 'alive', 0)
    call('SREM', P .. 'members:' .. of_queue, silent)
    free_lanes(silent, of_queue)
    local sides = call('HKEYS', P .. 'sides:' .. of_queue)
    for i = 1, #sides do
      free_lanes(silent, sides[i])
    end
  end
end
