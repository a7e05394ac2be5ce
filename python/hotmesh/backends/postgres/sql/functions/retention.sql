-- Delete runs with all that belongs to them.
create or replace function hotmesh.delete_runs(run_ids bytea[])
returns void language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
as $$
begin
    delete from hotmesh.journal where journal.run_id = any (run_ids);
    delete from hotmesh.attribute where attribute.run_id = any (run_ids);
    delete from hotmesh.wait where wait.run_id = any (run_ids);
    delete from hotmesh.ended where ended.run_id = any (run_ids);
    with gone as (
        delete from hotmesh.run where run.run_id = any (run_ids)
        returning run.run_id, run.lane, run.workflow_id
    )
    -- The run id is compared again for the case that the workflow id gets a new run meanwhile.
    delete from hotmesh.current
    using gone
    join hotmesh.queue on queue.id = gone.lane / 64
    cross join lateral (
        select c.ctid as place from hotmesh.current c
        where c.namespace = queue.namespace and c.workflow_id = gone.workflow_id offset 0
    ) found
    where current.ctid = found.place and current.run_id = gone.run_id;
end $$;


-- Delete a bounded number of expired runs, of replies nobody took, and of routers long dead.
create or replace function hotmesh.clean(
    wall bigint, runs_room int, replies_before bigint, replies_room int, routers_before bigint
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
        select expiry.ctid as place from hotmesh.expiry
        where expiry.due_ms <= wall
        order by expiry.due_ms limit runs_room for update skip locked
    ), gone as (
        delete from hotmesh.expiry using due
        where expiry.ctid = due.place
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
    -- What was seen later than any lease can have ended since is damaged.
    delete from hotmesh.router
    where not router.alive and (
        router.seen_ms < routers_before or router.seen_ms > router.lease_until_ms + 1000.0
    );
    -- Pieces of calls that never came. A call takes less than a minute.
    delete from hotmesh.piece where piece.put_ms < wall - 600000;
end $$;


-- Delete up to `room` runs of a namespace that closed so long ago or longer, looking past `after`;
-- how many, and the last of them (null: there were none).
create or replace function hotmesh.prune(
    run_namespace text, older_than_ms bigint, after bytea, room int,
    out deleted int, out last bytea
) language plpgsql as $$
declare
    old bytea[];
    closed_until_ms bigint := hotmesh.wall_ms() - older_than_ms;
begin
    old := array(
        select run.run_id from hotmesh.run
        join hotmesh.queue on queue.id = run.lane / 64
        where queue.namespace = run_namespace
            and run.run_id > after and run.status <> 1 and run.closed_ms <= closed_until_ms
        order by run.run_id limit room
    );
    perform hotmesh.delete_runs(old);
    deleted := cardinality(old);
    last := old[deleted];
end $$;
