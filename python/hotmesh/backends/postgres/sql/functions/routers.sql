-- The id of a task queue, or of its side queue for a type; its lanes are made with it. A new one gets
-- the id that its name asks for (or the next free one), so that a database which has lost it gives
-- the same one again. Null if that id is taken: the caller finds another and says `sure`, or finds
-- that the row in the way is damaged.
create or replace function hotmesh.queue_id(
    queue_namespace text, queue_name text, queue_side text, wanted int, sure boolean
) returns int language plpgsql as $$
declare
    found_id int;
    home_id int;
begin
    select queue.id into found_id from hotmesh.queue
    where queue.namespace = queue_namespace and queue.task_queue = queue_name
        and queue.side = queue_side;
    if found and (not sure or found_id = wanted) then
        return found_id;
    end if;
    if queue_side <> '' then
        select queue.id into strict home_id from hotmesh.queue
        where queue.namespace = queue_namespace and queue.task_queue = queue_name
            and queue.side = '';
    end if;
    lock table hotmesh.queue in share row exclusive mode;
    select queue.id into found_id from hotmesh.queue
    where queue.namespace = queue_namespace and queue.task_queue = queue_name
        and queue.side = queue_side;
    if found and not sure then
        return found_id;
    end if;
    if sure then
        delete from hotmesh.queue
        where queue.id = wanted or (
            queue.namespace = queue_namespace and queue.task_queue = queue_name
            and queue.side = queue_side
        );
    elsif exists (select from hotmesh.queue where queue.id = wanted) then
        return null;
    end if;
    insert into hotmesh.queue (id, namespace, task_queue, side, home)
    values (wanted, queue_namespace, queue_name, queue_side, home_id);
    insert into hotmesh.lane (lane)
    select wanted * 64 + n from generate_series(0, 63) n on conflict (lane) do nothing;
    return wanted;
end $$;


-- Raise HM002 unless a queue is one of a namespace.
create or replace function hotmesh.check_queue(own_namespace text, queue_id int)
returns void language plpgsql as $$
begin
    if not exists (
        select from hotmesh.queue where queue.id = queue_id and queue.namespace = own_namespace
    ) then
        raise exception 'task queue % is not one of namespace %', queue_id, own_namespace
            using errcode = 'HM002';
    end if;
end $$;


-- Join or renew; declare the silent dead; take free lanes up to the fair share; clean up.
create or replace function hotmesh.beat(
    own_id bytea, own_lock bigint, router_namespace text, router_queue int,
    hosts boolean, types text[], side_keep_ms bigint, router_lease_ms bigint,
    router_info bytea, router_beats int, latest bigint, jump bigint, jump_shift bigint,
    queue_lock bigint,
    runs_room int, replies_before_ms bigint, replies_room int, routers_before_ms bigint,
    out alive boolean, out now bigint, out lanes int[], out surplus int[], out routers int,
    out shift_ms bigint, out went_back boolean, out side_names text
) language plpgsql as $$
declare
    side record;
begin
    alive := false;
    lanes := '{}';
    surplus := '{}';
    routers := 0;
    went_back := false;
    shift_ms := 0;
    if router_beats > 0 then
        select router.beats < router_beats into went_back
        from hotmesh.router
        join hotmesh.queue on queue.id = router_queue
        where router.router_id = own_id and queue.namespace = router_namespace;
        if not found then
            now := hotmesh.now_ms();
            went_back := true;
            return;
        end if;
    end if;
    perform hotmesh.check_queue(router_namespace, router_queue);

    -- Beats of one queue take turns, so that free lanes are counted and taken by one at a time.
    perform pg_advisory_xact_lock(queue_lock);
    perform hotmesh.settle_clock(own_id, jump, jump_shift);
    select hotmesh.wall_ms() + clock.shift_ms, clock.shift_ms into now, shift_ms
    from hotmesh.clock;

    insert into hotmesh.router
        (lock_key, seen_ms, lease_until_ms, queue_id, hosts_workflows, workflow_types, beats,
        router_id, namespace, info)
    values (own_lock, now, now + router_lease_ms, router_queue, hosts, types, router_beats + 1,
        own_id, router_namespace, router_info)
    on conflict (router_id) do update set
        queue_id = excluded.queue_id, hosts_workflows = excluded.hosts_workflows,
        workflow_types = excluded.workflow_types,
        seen_ms = excluded.seen_ms, lease_until_ms = excluded.lease_until_ms, info = excluded.info,
        beats = greatest(router.beats, excluded.beats)
    where router.namespace = router_namespace
    returning router.alive into alive;
    if not found or not alive then
        alive := false;
        return;
    end if;

    perform hotmesh.bury_routers(least(now, latest), now);
    perform hotmesh.clean(
        now - shift_ms, runs_room, now - replies_before_ms, replies_room, now - routers_before_ms
    );

    select count(*) into routers from hotmesh.router r
    where r.queue_id = router_queue and r.alive and r.hosts_workflows;
    if hosts then
        -- The caller sees to names that are damaged; null where there are no side queues.
        select json_agg(json_build_array(
            queue.id, queue.namespace, queue.task_queue, queue.side
        )) into side_names
        from hotmesh.queue where queue.home = router_queue;
        -- A damaged row of the task queue or of one of its side queues belongs to it again.
        update hotmesh.queue set home = nullif(router_queue, queue.id)
        from hotmesh.queue own
        where own.id = router_queue and queue.namespace = own.namespace
            and queue.task_queue = own.task_queue
            and queue.home is distinct from nullif(router_queue, queue.id);
        surplus := hotmesh.share_lanes(own_id, router_queue, routers);
        for side in
            select queue.id, queue.side, queue.used_ms > now - side_keep_ms or exists (
                select from hotmesh.moved where moved.queue_id = queue.id
            ) as in_use
            from hotmesh.queue where queue.home = router_queue order by queue.id
        loop
            surplus := surplus || hotmesh.share_lanes(own_id, side.id, case
                when side.in_use and (types is null or side.side = any (types)) then (
                    select count(*) from hotmesh.router r
                    where r.queue_id = router_queue and r.alive and r.hosts_workflows
                        and (r.workflow_types is null or side.side = any (r.workflow_types))
                )
            end);
        end loop;
    end if;
    select coalesce(array_agg(lane.lane order by lane.lane), '{}') into lanes
    from hotmesh.lane
    where lane.owner = own_id and lane.lane / 64 in (
        -- A lane of another queue is none that it could read: its row is damaged.
        select queue.id from hotmesh.queue
        where queue.id = router_queue or queue.home = router_queue
    );
end $$;


-- Take free lanes of a queue up to a fair share among so many routers (null: no share at all); the
-- lanes that are more than that.
create or replace function hotmesh.share_lanes(own_id bytea, queue int, routers bigint)
returns int[] language plpgsql as $$
declare
    fair int := coalesce(ceil(64.0 / routers), 0);
    owned int[] := array(
        select lane.lane from hotmesh.lane
        where lane.owner = own_id and lane.lane >= queue * 64 and lane.lane < queue * 64 + 64
        order by lane.lane
    );
begin
    if cardinality(owned) < fair then
        -- What nobody alive has is free, and a row that is missing too: it was damaged.
        insert into hotmesh.lane (lane)
        select queue * 64 + n from generate_series(0, 63) n
        where not exists (select from hotmesh.lane known where known.lane = queue * 64 + n)
        on conflict (lane) do nothing;
        update hotmesh.lane set owner = own_id
        where lane.lane in (
            select free.lane from hotmesh.lane free
            where free.lane >= queue * 64 and free.lane < queue * 64 + 64
                and not exists (
                    select from hotmesh.router holder
                    where holder.router_id = free.owner and holder.alive
                )
            order by free.lane limit fair - cardinality(owned)
        );
    end if;
    return owned[fair + 1:];
end $$;


-- Keep the store's time going evenly. A jump that a live router has seen is taken out of it, unless
-- the clock was settled since. And it never goes back behind what any router has seen that has not
-- left (one that is dead may have claims still), but for a second that may be due to the usual
-- corrections of clocks.
create or replace function hotmesh.settle_clock(own_id bytea, jump bigint, jump_shift bigint)
returns void language plpgsql as $$
declare
    stored bigint := (select clock.shift_ms from hotmesh.clock);
    latest bigint;
begin
    -- CLOCK_SHIFT_MS_MAX in limits.py
    if stored not between -3162240000000 and 3162240000000 then
        raise exception 'table hotmesh.clock is damaged, shift_ms is %: set it to milliseconds by '
            'which the time of this database is ahead of the clock, 0 as a rule', stored
            using errcode = 'HM004';
    end if;
    if jump <> 0 and exists (
        select from hotmesh.router where router.router_id = own_id and router.alive
    ) then
        update hotmesh.clock set shift_ms = clock.shift_ms - jump
        where clock.shift_ms = jump_shift;
        if found and jump > 0 then
            update hotmesh.router
            set seen_ms = router.seen_ms - jump, lease_until_ms = router.lease_until_ms - jump
            where router.seen_ms > hotmesh.now_ms();
        end if;
    end if;
    -- None is seen after its lease has ended, nor is that longer than any (LEASE_MS_MAX in limits.py):
    -- such a row is damaged.
    select max(router.seen_ms) into latest from hotmesh.router
    where router.lease_until_ms::float8 - router.seen_ms between -1000 and 3600000;
    if latest > hotmesh.now_ms() + 1000 then
        perform from hotmesh.clock for update;
        update hotmesh.clock
        set shift_ms = clock.shift_ms + greatest(0, latest - hotmesh.now_ms());
    end if;
end $$;


-- Declare routers dead whose lease is over, and free their lanes; one whose lease ends later than any
-- can (LEASE_MS_MAX in limits.py) is damaged. One whose step is in flight is left to a later beat:
-- nobody waits for anybody here.
create or replace function hotmesh.bury_routers(until bigint, now bigint)
returns void language plpgsql as $$
declare
    silent record;
begin
    for silent in
        select r.router_id, r.lock_key from hotmesh.router r
        where r.alive and r.lease_until_ms not between until and now + 3601000
        order by r.router_id for update skip locked
    loop
        if pg_try_advisory_xact_lock(silent.lock_key) then
            update hotmesh.router set alive = false where router.router_id = silent.router_id;
            update hotmesh.lane set owner = null where lane.owner = silent.router_id;
        end if;
    end loop;
end $$;


-- Give everything back: lanes, and claimed tasks as if their lease were over. Waits for the
-- router's steps in flight; later ones are fenced, for its row is gone.
create or replace function hotmesh.leave(own_namespace text, own_id bytea, own_lock bigint)
returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(own_lock);
    delete from hotmesh.router
    where router.router_id = own_id and router.namespace = own_namespace;
    update hotmesh.lane set owner = null
    where lane.owner = own_id and exists (
        select from hotmesh.queue
        where queue.id = lane.lane / 64 and queue.namespace = own_namespace
    );
    update hotmesh.task set due_ms = hotmesh.now_ms()
    where task.owner = own_id and task.due_ms > hotmesh.now_ms() and exists (
        select from hotmesh.queue
        where queue.id = task.queue_id and queue.namespace = own_namespace
    );
end $$;


-- A router that can't go on gives up its lanes and keeps what it has begun: that becomes claimed
-- tasks. Waits for its steps in flight; later ones are fenced.
create or replace function hotmesh.stand_down(
    own_namespace text, own_id bytea, own_lock bigint, claim_ms bigint,
    queues int[], types text[], lanes int[], run_ids bytea[], seqs int[], attempts int[],
    frames bytea[], transitions int[]
) returns void language plpgsql as $$
declare
    now bigint;
    was_alive boolean;
begin
    perform pg_advisory_xact_lock(own_lock);
    now := hotmesh.now_ms();
    update hotmesh.router set alive = false
    where router.router_id = own_id and router.namespace = own_namespace and router.alive;
    was_alive := found;
    insert into hotmesh.task (
        due_ms, scheduled_ms, queue_id, activity_type, lane, seq, attempt, owner, run_id, frame,
        state, held
    )
    select case when held.attempt > 0 then now + claim_ms else now end, now, held.queue,
        held.activity_type, held.lane, held.seq, held.attempt,
        case when held.attempt > 0 then own_id end, held.run_id, held.frame, '',
        true
    from unnest(queues, types, lanes, run_ids, seqs, attempts, frames, transitions)
        held (queue, activity_type, lane, run_id, seq, attempt, frame, transition)
    where exists (
        select from hotmesh.run
        where run.run_id = held.run_id and run.status = 1 and run.lane = held.lane
    ) and (
        was_alive or exists (
            select from hotmesh.task known
            where known.run_id = held.run_id and known.seq = held.seq
        )
    ) and (
        held.transition < 0 or exists (
            select from hotmesh.journal
            where journal.run_id = held.run_id and journal.seq = held.transition
        )
    ) and not exists (
        select from hotmesh.ended
        where ended.run_id = held.run_id and ended.seq = held.seq
    )
    order by held.run_id, held.seq
    on conflict (run_id, seq) do update set owner = excluded.owner, due_ms = excluded.due_ms
    where task.owner is null and excluded.owner is not null and task.attempt = excluded.attempt
        and task.lane = excluded.lane;
    update hotmesh.lane set owner = null
    where lane.owner = own_id and exists (
        select from hotmesh.queue
        where queue.id = lane.lane / 64 and queue.namespace = own_namespace
    );
end $$;
