-- Move open runs from one lane to another, with the events that nobody has read (results and timers
-- that are left behind follow when they are found). A run stays that is not where it is said to be, or
-- that is in a lane of another router. The runs are locked already; a lane that nobody owns is, so
-- that nobody takes it meanwhile. Side queues that are named are in use, whatever was moved there.
create or replace function hotmesh.move_runs(
    now bigint, router bytea, own_queues int[], run_ids bytea[], froms int[], tos int[]
) returns void language plpgsql
set enable_seqscan = off
as $$
begin
    -- A reader takes it for granted that a transaction has its id before its messages have.
    perform pg_current_xact_id();
    for i in 1 .. cardinality(run_ids) loop
        perform from hotmesh.lane
        where lane.lane = froms[i] and (lane.owner is null or lane.owner = router) for share;
        if not found or froms[i] / 64 <> all (own_queues) or tos[i] / 64 <> all (own_queues) then
            continue;
        end if;
        update hotmesh.run set lane = tos[i]
        where run.run_id = run_ids[i] and run.lane = froms[i] and run.status = 1;
        if not found then
            continue;
        end if;

        with event as (
            delete from hotmesh.stream
            where stream.run_id = run_ids[i] and stream.kind = 1 and stream.lane = froms[i]
            returning stream.id, stream.frame
        )
        insert into hotmesh.stream (lane, kind, run_id, frame)
        select tos[i], 1, run_ids[i], event.frame from event order by event.id;

        delete from hotmesh.moved where moved.run_id = run_ids[i];
        insert into hotmesh.moved (queue_id, run_id)
        select queue.id, run_ids[i] from hotmesh.queue
        where queue.id = tos[i] / 64 and queue.home is not null;
    end loop;

    -- Once a second is enough; whoever updates it now does it for all.
    update hotmesh.queue set used_ms = now
    where queue.id in (
        select used.id from hotmesh.queue used
        where used.home is not null and used.id = any (own_queues) and used.used_ms < now - 1000
            and used.id in (select lane / 64 from unnest(tos) lane)
        for update skip locked
    );
end $$;


-- The lane of the task queue that a lane of its side queue belongs to; any other lane itself.
create or replace function hotmesh.home_lane(lane int) returns int language sql stable as $$
    select coalesce(queue.home, queue.id) * 64 + lane % 64
    from hotmesh.queue where queue.id = lane / 64
$$;
