-- A router that can't go on gives up its lanes and keeps what it has begun: that becomes claimed tasks.
-- Numbers: h.lease, columns h.queue, h.lane, h.seq, h.attempt, h.transition. Bytes: router id, then
-- columns of types, runs, frames.
local router = take()
local types, runs, frames = column(#h.seq), column(#h.seq), column(#h.seq)

local was_alive = call('HGET', P .. 'router:' .. router, 'alive') == '1'

local function is_wanted(i, run)
  local found = call('HMGET', P .. 'run:' .. run, 's', 'l')
  return found[1] == RUNNING and tonumber(found[2]) == h.lane[i]
    and call('HEXISTS', P .. 'run:' .. run, 'd:' .. h.seq[i]) == 0
    and (h.transition[i] < 0 or call('LLEN', P .. 'journal:' .. run) > h.transition[i])
end

for i = 1, #h.seq do
  local run, seq, kind = ARGV[runs + i], h.seq[i], ARGV[types + i]
  local member, begun = run .. seq, h.attempt[i] > 0
  local found = call('HMGET', P .. 'task:' .. member, 'o', 'n', 'q', 'k')
  if not found[1] and was_alive and is_wanted(i, run) then
    put_task(run, seq, h.queue[i], kind, h.lane[i], ARGV[frames + i], h.attempt[i], '',
      begun and router or '')
    call('HSET', P .. 'task:' .. member, 'e', 1)
    if begun then
      call('ZADD', claims_of(h.queue[i], kind), text(now + h.lease), member)
    else
      call('ZADD', waiting_of(h.queue[i], kind), text(now), member)
    end
  elseif found[1] == '' and begun and tonumber(found[2]) == h.attempt[i] then
    call('HSET', P .. 'task:' .. member, 'o', router)
    call('ZREM', waiting_of(found[3], found[4]), member)
    call('ZADD', claims_of(found[3], found[4]), text(now + h.lease), member)
  end
end

declare_dead(router)
return {}
