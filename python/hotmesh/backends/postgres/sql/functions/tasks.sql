-- One batch of an activity worker: finish, retry, renew, then claim, oldest due first.
create or replace function hotmesh.tasks(
    router bytea,
    queue int,
    lease_ms bigint,
    room int,
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
    out now bigint,
    out next_due bigint,
    out finished_run bytea[],
    out finished_seq int[],
    out finished_attempt int[],
    out finished_lanes int[],
    out beaten_run bytea[],
    out beaten_seq int[],
    out beaten_attempt int[],
    out beaten_recalled boolean[],
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
begin
    now := hotmesh.now_ms();

    if finish_run is not null then
        with gone as (
            delete from hotmesh.task
            using (
                select unnest(finish_run) as run_id, unnest(finish_seq) as seq,
                    unnest(finish_attempt) as attempt, unnest(finish_frame) as frame
            ) item
            where task.run_id = item.run_id and task.seq = item.seq
                and task.attempt = item.attempt and task.owner = router
            returning task.run_id, task.seq, task.attempt, task.lane, item.frame
        ), sent as (
            insert into hotmesh.stream (lane, kind, run_id, frame)
            select gone.lane, 2, gone.run_id, gone.frame from gone
        )
        select array_agg(gone.run_id), array_agg(gone.seq), array_agg(gone.attempt),
            array_agg(gone.lane)
        into finished_run, finished_seq, finished_attempt, finished_lanes
        from gone;
    end if;

    if retry_run is not null then
        update hotmesh.task
        set due_ms = now + item.delay, owner = null, state = item.state
        from (
            select unnest(retry_run) as run_id, unnest(retry_seq) as seq,
                unnest(retry_attempt) as attempt, unnest(retry_delay) as delay,
                unnest(retry_state) as state
        ) item
        where task.run_id = item.run_id and task.seq = item.seq
            and task.attempt = item.attempt and task.owner = router;
    end if;

    if beat_run is not null then
        with beaten as (
            update hotmesh.task
            set due_ms = now + item.lease, state = coalesce(item.state, task.state)
            from (
                select unnest(beat_run) as run_id, unnest(beat_seq) as seq,
                    unnest(beat_attempt) as attempt, unnest(beat_lease) as lease,
                    unnest(beat_state) as state
            ) item
            where task.run_id = item.run_id and task.seq = item.seq
                and task.attempt = item.attempt and task.owner = router
            returning task.run_id, task.seq, task.attempt, task.recalled
        )
        select array_agg(beaten.run_id), array_agg(beaten.seq), array_agg(beaten.attempt),
            array_agg(beaten.recalled)
        into beaten_run, beaten_seq, beaten_attempt, beaten_recalled
        from beaten;
    end if;

    if room > 0 then
        with due as materialized (
            select task.run_id, task.seq, task.owner is not null as lost
            from hotmesh.task
            where task.queue_id = queue and task.due_ms <= now
            order by task.due_ms limit room
            for update skip locked
        ), claimed as (
            update hotmesh.task
            set due_ms = now + lease_ms, attempt = task.attempt + 1, owner = router
            from due
            where task.run_id = due.run_id and task.seq = due.seq
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

    select min(task.due_ms) into next_due from hotmesh.task where task.queue_id = queue;
    now := hotmesh.now_ms();
end $$;


-- Finish an activity from outside its worker; false when its run is not open.
create or replace function hotmesh.complete_task(
    completed_run bytea, completed_seq int, run_lane int, result_frame bytea
) returns boolean language plpgsql as $$
begin
    perform from hotmesh.run
    where run.run_id = completed_run and run.status = 1 for share;
    if not found then
        return false;
    end if;
    delete from hotmesh.task where task.run_id = completed_run and task.seq = completed_seq;
    insert into hotmesh.stream (lane, kind, run_id, frame)
    values (run_lane, 2, completed_run, result_frame);
    return true;
end $$;
