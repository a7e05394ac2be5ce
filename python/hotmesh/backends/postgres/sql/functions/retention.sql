-- Delete runs with all that belongs to them.
create or replace function hotmesh.delete_runs(run_ids bytea[])
returns void language plpgsql as $$
begin
    delete from hotmesh.journal where journal.run_id = any (run_ids);
    delete from hotmesh.attribute where attribute.run_id = any (run_ids);
    delete from hotmesh.wait where wait.run_id = any (run_ids);
    with gone as (
        delete from hotmesh.run where run.run_id = any (run_ids)
        returning run.run_id, run.lane, run.workflow_id
    )
    delete from hotmesh.current
    using gone
    join hotmesh.queue on queue.id = gone.lane / 64
    where current.namespace = queue.namespace and current.workflow_id = gone.workflow_id
        and current.run_id = gone.run_id;
end $$;


-- Delete a bounded number of expired runs, of replies nobody took, and of routers long dead.
create or replace function hotmesh.clean(
    now bigint, runs_room int, replies_before bigint, replies_room int, routers_before bigint
) returns void language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
declare
    expired bytea[];
begin
    with due as materialized (
        select expiry.due_ms, expiry.run_id from hotmesh.expiry
        where expiry.due_ms <= now
        order by expiry.due_ms limit runs_room for update skip locked
    ), gone as (
        delete from hotmesh.expiry using due
        where expiry.due_ms = due.due_ms and expiry.run_id = due.run_id
        returning expiry.run_id
    )
    select array_agg(gone.run_id order by gone.run_id) into expired from gone;
    if expired is not null then
        perform hotmesh.delete_runs(expired);
    end if;

    delete from hotmesh.reply where reply.reply_id = any (array(
        select stale.reply_id from hotmesh.reply stale
        where stale.created_ms < replies_before
        order by stale.created_ms limit replies_room for update skip locked
    ));
    delete from hotmesh.router where not router.alive and router.seen_ms < routers_before;
end $$;


-- Delete up to `room` runs of a namespace that closed before a time; how many.
create or replace function hotmesh.prune(
    run_namespace text, closed_before_ms bigint, room int
) returns int language plpgsql as $$
declare
    old bytea[];
begin
    old := array(
        select run.run_id from hotmesh.run
        join hotmesh.queue on queue.id = run.lane / 64
        where queue.namespace = run_namespace
            and run.status <> 1 and run.closed_ms < closed_before_ms
        order by run.run_id limit room
    );
    perform hotmesh.delete_runs(old);
    return cardinality(old);
end $$;
