-- The activity types that tasks of a queue wait for, found by leaps through the index.
create or replace function hotmesh.waiting_types(queue int)
returns text[] language sql stable
set enable_seqscan = off
as $$
    with recursive waiting as (
        (
            select task.activity_type from hotmesh.task
            where task.queue_id = queue
            order by task.activity_type limit 1
        )
        union all
        select (
            select task.activity_type from hotmesh.task
            where task.queue_id = queue and task.activity_type > waiting.activity_type
            order by task.activity_type limit 1
        )
        from waiting where waiting.activity_type is not null
    )
    select coalesce(array_agg(activity_type), '{}') from waiting where activity_type is not null
$$;


-- One batch of an activity worker: finish, retry, renew, then claim, oldest due first, of the
-- types that it hosts (null: of any). Each type is a probe of the index. Queue 0 claims nothing: a
-- client's batch, for tasks of whichever queue of its namespace.
create or replace function hotmesh.tasks(
    own_namespace text,
    router bytea,
    queue int,
    lease_ms bigint,
    room int,
    types text[],
    byte_room bigint,
    latest bigint,
    finish_run bytea[],
    finish_seq int[],
    finish_attempt int[],
    finish_frame bytea[],
    retry_run bytea[],
    retry_seq int[],
    retry_attempt int[],
    retry_delay bigint[],
    retry_state bytea[],
    beat_run bytea[],
    beat_seq int[],
    beat_attempt int[],
    beat_lease bigint[],
    beat_state bytea[],
    beat_outside boolean[],
    out now bigint,
    out next_due bigint,
    out finished_lanes int[],
    -- Positions, from 1, in the columns of finishes and of beats.
    out lost_finishes int[],
    out lost_beats int[],
    out recalled_beats int[],
    out claimed_run bytea[],
    out claimed_seq int[],
    out claimed_lane int[],
    out claimed_attempt int[],
    out claimed_lost boolean[],
    out claimed_frame bytea[],
    out claimed_state bytea[],
    out claimed_scheduled bigint[]
) language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    task_lane int;
    was_held boolean;
    is_recalled boolean;
    shift bigint;
    hosted text[] := coalesce(types, hotmesh.waiting_types(queue));
begin
    select hotmesh.wall_ms() + clock.shift_ms, clock.shift_ms into now, shift from hotmesh.clock;
    now := hotmesh.steady(now, latest);
    if queue <> 0 then
        perform hotmesh.check_queue(own_namespace, queue);
    end if;

    -- The attempt says whose claim it is: no two claims have the same. A client that completes an
    -- activity from outside its worker beats and retries the worker's claim.
    if finish_run is not null then
        for i in 1 .. cardinality(finish_run) loop
            delete from hotmesh.task
            where task.run_id = finish_run[i] and task.seq = finish_seq[i]
                and task.attempt = finish_attempt[i] and task.owner is not null
                and (task.queue_id = queue or exists (
                    select from hotmesh.queue q
                    where q.id = task.queue_id and q.namespace = own_namespace
                ))
            returning task.lane, task.held into task_lane, was_held;
            if found then
                if was_held then
                    insert into hotmesh.ended (run_id, seq)
                    values (finish_run[i], finish_seq[i]) on conflict (run_id, seq) do nothing;
                end if;
                insert into hotmesh.stream (lane, kind, run_id, frame)
                values (task_lane, 2, finish_run[i], finish_frame[i]);
                finished_lanes := finished_lanes || task_lane;
            else
                lost_finishes := lost_finishes || i;
            end if;
        end loop;
    end if;

    if retry_run is not null then
        for i in 1 .. cardinality(retry_run) loop
            update hotmesh.task
            set due_ms = now + retry_delay[i], owner = null, state = retry_state[i]
            where task.run_id = retry_run[i] and task.seq = retry_seq[i]
                and task.attempt = retry_attempt[i] and task.owner is not null
                and (task.queue_id = queue or exists (
                    select from hotmesh.queue q
                    where q.id = task.queue_id and q.namespace = own_namespace
                ));
        end loop;
    end if;

    if beat_run is not null then
        for i in 1 .. cardinality(beat_run) loop
            update hotmesh.task
            set due_ms = case when beat_lease[i] < 0 then task.due_ms else now + beat_lease[i] end,
                state = coalesce(beat_state[i], task.state),
                owner = case when beat_outside[i] then 'outside' else task.owner end
            where task.run_id = beat_run[i] and task.seq = beat_seq[i]
                and task.attempt = beat_attempt[i] and task.owner is not null
                and (task.queue_id = queue or exists (
                    select from hotmesh.queue q
                    where q.id = task.queue_id and q.namespace = own_namespace
                ))
            returning task.recalled into is_recalled;
            if not found then
                lost_beats := lost_beats || i;
            elsif is_recalled then
                recalled_beats := recalled_beats || i;
            end if;
        end loop;
    end if;

    if room > 0 then
        -- A row that was changed between its lock and the update is left to the next claim, as is
        -- what would come after `byte_room` bytes.
        with locked as materialized (
            select found.*
            from unnest(hosted) host (activity_type)
            cross join lateral (
                select task.ctid as place, task.owner is not null as lost, task.due_ms,
                    octet_length(task.frame) + octet_length(task.state) as size
                from hotmesh.task
                where task.queue_id = queue and task.activity_type = host.activity_type
                    and task.due_ms <= least(now, latest)
                order by task.due_ms limit room
                for update skip locked
            ) found
            order by found.due_ms limit room
        ), due as materialized (
            select page.place, page.lost from (
                select locked.place, locked.lost, sum(locked.size) over (
                    order by locked.due_ms rows between unbounded preceding and 1 preceding
                ) as before
                from locked
            ) page
            where page.before is null or page.before < byte_room
        ), claimed as (
            update hotmesh.task
            set due_ms = now + lease_ms, attempt = least(task.attempt, 2147483646) + 1, owner = router
            from due
            where task.ctid = due.place
            returning task.run_id, task.seq, task.lane, task.attempt, due.lost, task.frame,
                task.state, task.scheduled_ms
        )
        select array_agg(claimed.run_id), array_agg(claimed.seq), array_agg(claimed.lane),
            array_agg(claimed.attempt), array_agg(claimed.lost), array_agg(claimed.frame),
            array_agg(claimed.state), array_agg(claimed.scheduled_ms)
        into claimed_run, claimed_seq, claimed_lane, claimed_attempt, claimed_lost,
            claimed_frame, claimed_state, claimed_scheduled
        from claimed;
    end if;

    select min(first.due_ms) into next_due
    from unnest(hosted) host (activity_type)
    cross join lateral (
        select task.due_ms from hotmesh.task
        where task.queue_id = queue and task.activity_type = host.activity_type
        order by task.due_ms limit 1
    ) first;
    now := hotmesh.wall_ms() + shift;
end $$;


-- Finish an activity from outside its worker; the lane told, null when its run is not open, or its
-- task is not claimed as this attempt (0: whichever).
create or replace function hotmesh.complete_task(
    own_namespace text, completed_run bytea, completed_seq int, completed_attempt int,
    result_frame bytea
) returns int language plpgsql as $$
declare
    run_lane int;
    claimed boolean;
    was_held boolean;
begin
    select run.lane into run_lane
    from hotmesh.run join hotmesh.queue on queue.id = run.lane / 64
    where run.run_id = completed_run and run.status = 1 and queue.namespace = own_namespace
    for share of run;
    if not found then
        return null;
    end if;
    select task.attempt = completed_attempt and task.owner is not null into claimed
    from hotmesh.task where task.run_id = completed_run and task.seq = completed_seq
    for update;
    if completed_attempt > 0 and not claimed then
        return null;
    end if;
    delete from hotmesh.task where task.run_id = completed_run and task.seq = completed_seq
    returning task.held into was_held;
    if not found or was_held then
        insert into hotmesh.ended (run_id, seq)
        values (completed_run, completed_seq) on conflict (run_id, seq) do nothing;
    end if;
    insert into hotmesh.stream (lane, kind, run_id, frame)
    values (run_lane, 2, completed_run, result_frame);
    return run_lane;
end $$;
