-- Join or renew a router, declare silent ones dead, take a fair share of the lanes of its queue, and
-- of its side queues whose type it hosts. Bytes: router id, info, hosted types as JSON ("" for any).
-- Answers {alive, now, lanes, surplus lanes, routers, shift, went back, side queues}; the last are ids
-- and types, as stored. h.mend: the id of one that is damaged; two more bytes: what is stored as its id, its type.

local ROUTERS_PER_BEAT = 100
local EXPIRED_PER_BEAT = 500
local DEAD_KEPT_MS = 3600 * 1000
local SECOND_MS = 1000
local LEASE_MAX_MS = 3600 * 1000 -- LEASE_MS_MAX in limits.py

local router, info, types = take(), take(), take()
local queue = h.queue

local function forget_dead()
  local longest = '(' .. text(now - DEAD_KEPT_MS)
  local old = call('ZRANGEBYSCORE', P .. 'rollcall', '-inf', longest, 'LIMIT', 0, ROUTERS_PER_BEAT)
  for i = 1, #old do
    if call('HGET', P .. 'router:' .. old[i], 'alive') ~= '1' then
      call('DEL', P .. 'router:' .. old[i])
      call('ZREM', P .. 'rollcall', old[i])
    end
  end
end

-- Take free lanes of a queue up to a fair share among so many routers (0: no share at all).
local function take_share(of_queue, routers, lanes, surplus)
  local share = routers > 0 and math.ceil(LANES_PER_QUEUE / routers) or 0
  -- What nobody alive has is free, whatever is stored.
  local owners, alive_ones, flat = {}, {}, call('HGETALL', P .. 'owners:' .. of_queue)
  for i = 1, #flat, 2 do
    local index, owner = tonumber(flat[i]), flat[i + 1]
    if alive_ones[owner] == nil then
      alive_ones[owner] = call('ZSCORE', P .. 'leases', owner) and true or false
    end
    if index and alive_ones[owner] then
      owners[index] = owner
    end
  end
  local owned = 0
  for _, owner in pairs(owners) do
    owned = owned + (owner == router and 1 or 0)
  end
  local kept = 0
  for index = 0, LANES_PER_QUEUE - 1 do
    if not owners[index] and owned < share then
      call('HSET', P .. 'owners:' .. of_queue, index, router)
      owners[index] = router
      owned = owned + 1
    end
    if owners[index] == router then
      local lane = of_queue * LANES_PER_QUEUE + index
      lanes[#lanes + 1] = lane
      kept = kept + 1
      if kept > share then
        surplus[#surplus + 1] = lane
      end
    end
  end
end

local function hosts(hosted, workflow_type)
  if hosted == '' then
    return true
  end
  for _, each in ipairs(cjson.decode(hosted)) do
    if each == workflow_type then
      return true
    end
  end
  return false
end

-- The live routers that host a type, if its side queue is in use and this router is one of them.
local function side_routers(side, workflow_type)
  local used = tonumber(call('HGET', P .. 'side:' .. side, 'used') or 0) or now
  if used + h.side_keep < now and call('EXISTS', P .. 'moved:' .. side) == 0
    or not hosts(types, workflow_type) then
    return 0
  end
  local members, count = call('SMEMBERS', P .. 'members:' .. queue), 0
  for i = 1, #members do
    local hosted = call('HGET', P .. 'router:' .. members[i], 'types')
    count = count + (hosts(hosted or '', workflow_type) and 1 or 0)
  end
  return count
end

local function set_shift(to)
  now = now - shift + to
  shift = to
  call('SET', P .. 'clock_shift', text(to))
end

-- When a router was last seen. It is stored twice: where the rollcall says later it is damaged, and put
-- right.
local function latest_seen()
  while true do
    local last = call('ZRANGE', P .. 'rollcall', -1, -1, 'WITHSCORES')
    local id, seen = last[1], tonumber(last[2])
    if not seen or seen <= now + SECOND_MS then
      return now
    end
    local own = tonumber(call('HGET', P .. 'router:' .. id, 'seen') or nil)
    if own and own + SECOND_MS >= seen then
      return seen
    end
    call('ZADD', P .. 'rollcall', text(own or now), id)
  end
end

-- Keep the store's time going evenly. A jump that a live router has seen is taken out of it, unless
-- the clock was settled since. And it never goes back behind what a router has seen, but for a
-- second that may be due to the usual corrections of clocks.
local function settle_clock()
  if h.jump ~= 0 and h.jump_shift == shift and call('ZSCORE', P .. 'leases', router) then
    set_shift(shift - h.jump)
    local ahead = call('ZRANGEBYSCORE', P .. 'rollcall', '(' .. text(now), '+inf')
    for i = 1, #ahead do
      call('ZADD', P .. 'rollcall', text(now), ahead[i])
      if call('HEXISTS', P .. 'router:' .. ahead[i], 'seen') == 1 then
        call('HSET', P .. 'router:' .. ahead[i], 'seen', text(now))
      end
      if call('ZSCORE', P .. 'leases', ahead[i]) then
        call('ZINCRBY', P .. 'leases', text(-h.jump), ahead[i])
      end
    end
  end
  local latest = latest_seen()
  if latest > now + SECOND_MS then
    set_shift(shift + latest - now)
  end
end

local alive = call('HGET', P .. 'router:' .. router, 'alive')
local known = tonumber(call('HGET', P .. 'router:' .. router, 'beats') or 0) or 0
if alive == '0' or (not alive and (h.beats > 0 or not h.join)) then
  return { 0, now, {}, {}, 0, shift, 0, {} }
end
settle_clock()
call('HSET', P .. 'router:' .. router, 'alive', 1, 'q', queue, 'seen', text(now), 'info', info,
  'types', types, 'beats', math.max(known, h.beats + 1))
call('ZADD', P .. 'leases', text(now + h.lease), router)
call('ZADD', P .. 'rollcall', text(now), router)
call('SADD', P .. 'queues', queue)
call(h.hosts and 'SADD' or 'SREM', P .. 'members:' .. queue, router)

local before = '(' .. text(math.min(now, h.latest or now))
local silent = call('ZRANGEBYSCORE', P .. 'leases', '-inf', before, 'LIMIT', 0, ROUTERS_PER_BEAT)
for i = 1, #silent do
  declare_dead(silent[i])
end
-- A lease that ends later than any can is damaged.
local longest = '(' .. text(now + SECOND_MS + LEASE_MAX_MS)
local endless = call('ZRANGEBYSCORE', P .. 'leases', longest, '+inf', 'LIMIT', 0, ROUTERS_PER_BEAT)
for i = 1, #endless do
  declare_dead(endless[i])
end
forget_dead()
delete_expired(EXPIRED_PER_BEAT)

local function count_members()
  local members, count = call('SMEMBERS', P .. 'members:' .. queue), 0
  for i = 1, #members do
    if call('ZSCORE', P .. 'leases', members[i]) then
      count = count + 1
    else
      call('SREM', P .. 'members:' .. queue, members[i]) -- it is damaged
    end
  end
  return count
end

local routers = count_members()
local lanes, surplus, sides = {}, {}, {}
if h.hosts then
  take_share(queue, routers, lanes, surplus)
  if h.mend then
    call('HDEL', P .. 'sides:' .. queue, take())
    call('HSET', P .. 'sides:' .. queue, h.mend, take())
  end
  sides = call('HGETALL', P .. 'sides:' .. queue)
  for i = 1, #sides, 2 do
    local side = tonumber(sides[i])
    if side then -- else it is damaged, which the caller sees to
      if call('HGET', P .. 'side:' .. sides[i], 'home') ~= tostring(queue) then
        call('HSET', P .. 'side:' .. sides[i], 'home', queue) -- it is damaged
      end
      take_share(side, side_routers(sides[i], sides[i + 1]), lanes, surplus)
    end
  end
  table.sort(lanes)
end
return { 1, now, lanes, surplus, routers, shift, known < h.beats and 1 or 0, sides }
