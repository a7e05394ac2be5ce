-- Join or renew a router, declare silent ones dead, take a fair share of the queue's lanes.
-- Bytes: router id, info. Answers {alive, now, lanes, surplus, routers, went back}.

local ROUTERS_PER_BEAT = 100
local EXPIRED_PER_BEAT = 500
local DEAD_KEPT_MS = 3600 * 1000

local router, info = take(), take()
local queue = h.queue

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
  end
end

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

local function take_share(routers)
  local share = math.ceil(LANES_PER_QUEUE / routers)
  local owners, flat = {}, call('HGETALL', P .. 'owners:' .. queue)
  for i = 1, #flat, 2 do
    owners[tonumber(flat[i])] = flat[i + 1]
  end
  local owned = 0
  for _, owner in pairs(owners) do
    owned = owned + (owner == router and 1 or 0)
  end
  local lanes = {}
  for index = 0, LANES_PER_QUEUE - 1 do
    if not owners[index] and owned < share then
      call('HSET', P .. 'owners:' .. queue, index, router)
      owners[index] = router
      owned = owned + 1
    end
    if owners[index] == router then
      lanes[#lanes + 1] = queue * LANES_PER_QUEUE + index
    end
  end
  return lanes, math.max(0, owned - share)
end

local alive = call('HGET', P .. 'router:' .. router, 'alive')
local known = tonumber(call('HGET', P .. 'router:' .. router, 'beats') or 0)
if alive == '0' or (not alive and (h.beats > 0 or not h.join)) then
  return { 0, now, {}, 0, 0, 0 }
end
call('HSET', P .. 'router:' .. router, 'alive', 1, 'q', queue, 'seen', text(now), 'info', info,
  'beats', math.max(known, h.beats + 1))
call('ZADD', P .. 'leases', text(now + h.lease), router)
call('ZADD', P .. 'rollcall', text(now), router)
call('SADD', P .. 'queues', queue)
call(h.hosts and 'SADD' or 'SREM', P .. 'members:' .. queue, router)

local before = '(' .. text(now)
local silent = call('ZRANGEBYSCORE', P .. 'leases', '-inf', before, 'LIMIT', 0, ROUTERS_PER_BEAT)
for i = 1, #silent do
  declare_dead(silent[i])
end
forget_dead()
delete_expired(EXPIRED_PER_BEAT)

local routers = call('SCARD', P .. 'members:' .. queue)
local lanes, surplus = {}, 0
if h.hosts then
  lanes, surplus = take_share(routers)
end
return { 1, now, lanes, surplus, routers, known < h.beats and 1 or 0 }
