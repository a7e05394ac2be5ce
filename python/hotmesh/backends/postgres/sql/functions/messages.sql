-- The database's wall clock in milliseconds. It moves within a transaction.
create or replace function hotmesh.wall_ms() returns bigint language sql volatile as $$
    select (extract(epoch from clock_timestamp()) * 1000)::bigint
$$;


-- The store's time: the wall clock without its jumps.
create or replace function hotmesh.now_ms() returns bigint language sql volatile as $$
    select hotmesh.wall_ms() + clock.shift_ms from hotmesh.clock
$$;


-- The store's time as a caller may rely upon it who takes it for `latest` or later: its clock may
-- have jumped, and the jump not been taken out yet.
create or replace function hotmesh.steady(now bigint, latest bigint)
returns bigint language sql immutable as $$
    select greatest(latest, least(now, latest + 60000))
$$;


-- The runs that sends are meant for: the one named, else the newest of the workflow id.
create or replace function hotmesh.resolve_sends(
    namespaces text[], workflow_ids text[], run_ids bytea[]
) returns bytea[] language plpgsql as $$
begin
    return (
        select array_agg(
            case when item.run_id <> '' then item.run_id else current.run_id end
            order by item.position
        )
        from unnest(namespaces, workflow_ids, run_ids)
            with ordinality item (namespace, workflow_id, run_id, position)
        left join lateral (
            select c.run_id from hotmesh.current c
            where item.run_id = ''
                and c.namespace = item.namespace and c.workflow_id = item.workflow_id
            offset 0
        ) current on true
    );
end $$;


-- The run that has handled a message that is sent again, and has closed since: one of a workflow id,
-- from its newest run back, or the one that is `named`. Null if there is none. (An open run drops
-- what it has had already by itself.)
create or replace function hotmesh.heard(
    newest bytea, named boolean, message bytea, again_ms bigint
) returns bytea language plpgsql as $$
declare
    candidate bytea := newest;
    since bigint := hotmesh.wall_ms() - again_ms;
    found_status int;
    found_closed bigint;
    found_previous bytea;
begin
    while candidate is not null loop
        select run.status, run.closed_ms, run.previous
        into found_status, found_closed, found_previous
        from hotmesh.run where run.run_id = candidate;
        if not found or (found_status <> 1 and found_closed < since) then
            return null;
        end if;
        if found_status <> 1 and exists (
            select from hotmesh.journal
            where journal.run_id = candidate and position(message in journal.frame) > 0
        ) then
            return candidate;
        end if;
        exit when named;
        candidate := nullif(found_previous, '');
    end loop;
    return null;
end $$;


-- Deliver messages to runs named by workflow id; `statuses` is 0 where there is no such run. Where
-- `again_ms` is not null it says of each how long ago it may have been sent before (0: it was not).
create or replace function hotmesh.apply_sends(
    namespaces text[],
    workflow_ids text[],
    run_ids bytea[],
    kinds int[],
    frames bytea[],
    allow_closed boolean[],
    again_ms bigint[],
    out delivered boolean[],
    out receivers bytea[],
    out statuses int[],
    out lanes int[]
) language plpgsql as $$
declare
    targets bytea[];
    settled bytea[];
    hearer bytea;
    heard boolean[];
begin
    -- The share lock makes a send and a close of the same run wait for each other: the send sees
    -- the closed run, or the close sees the message. A run that continued as a new one while we
    -- waited is followed to the new one.
    settled := hotmesh.resolve_sends(namespaces, workflow_ids, run_ids);
    loop
        targets := settled;
        perform from (
            select from hotmesh.run where run.run_id = any (targets)
            order by run.run_id for share
        ) locked;
        settled := hotmesh.resolve_sends(namespaces, workflow_ids, run_ids);
        exit when settled is not distinct from targets;
    end loop;

    if again_ms is not null then
        for i in 1 .. cardinality(frames) loop
            if again_ms[i] > 0 and not allow_closed[i] then
                hearer := hotmesh.heard(targets[i], run_ids[i] <> '', frames[i], again_ms[i]);
                if hearer is not null then
                    targets[i] := hearer;
                    heard[i] := true;
                end if;
            end if;
        end loop;
    end if;

    with target as (
        select item.*, coalesce(run.status, 0) as status, run.lane as run_lane,
            heard[item.position] is true as is_heard,
            -- What takes no code of the run (kind 3) goes where somebody reads it for sure.
            case when item.kind = 3 then hotmesh.home_lane(run.lane) else run.lane end as lane
        from unnest(targets, namespaces, workflow_ids, kinds, frames, allow_closed)
            with ordinality item
                (run_id, namespace, workflow_id, kind, frame, allowed, position)
        left join lateral (
            select r.status, r.lane
            from hotmesh.run r join hotmesh.queue on queue.id = r.lane / 64
            where r.run_id = item.run_id and r.workflow_id = item.workflow_id
                and queue.namespace = item.namespace
            offset 0
        ) run on true
    ), sent as (
        insert into hotmesh.stream (lane, kind, run_id, frame)
        select
            target.lane,
            case
                when target.kind <> 3 then target.kind
                when target.lane = target.run_lane then 1
                else 2
            end,
            target.run_id, target.frame
        from target
        where target.status = 1 or (target.status > 0 and target.allowed)
        order by target.position
    )
    select
        array_agg(
            target.status = 1 or (target.status > 0 and (target.allowed or target.is_heard))
            order by target.position
        ),
        array_agg(
            case when target.status > 0 then target.run_id else '' end order by target.position
        ),
        array_agg(target.status order by target.position),
        array_agg(coalesce(target.lane, 0) order by target.position)
    into delivered, receivers, statuses, lanes
    from target;
end $$;


-- A client's batch of messages.
create or replace function hotmesh.send(
    namespaces text[],
    workflow_ids text[],
    run_ids bytea[],
    kinds int[],
    frames bytea[],
    allow_closed boolean[],
    again_ms bigint[],
    out delivered boolean[],
    out receivers bytea[],
    out statuses int[],
    out lanes int[]
) language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    select s.delivered, s.receivers, s.statuses, s.lanes
    into delivered, receivers, statuses, lanes
    from hotmesh.apply_sends(
        namespaces, workflow_ids, run_ids, kinds, frames, allow_closed, again_ms
    ) s;
end $$;


-- Lock keys of mail in one order, so that a wait and a mail for it can't miss each other.
create or replace function hotmesh.lock_mail(namespaces text[], keys text[])
returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(item.lock_key)
    from (
        select distinct hashtextextended(name.namespace || ' ' || name.key, 4096) as lock_key
        from unnest(namespaces, keys) name (namespace, key)
        order by 1
    ) item;
end $$;


-- Let runs wait for mail; mail that is there already is delivered at once, oldest first.
create or replace function hotmesh.apply_waits(
    namespaces text[], keys text[], lanes int[], run_ids bytea[], frames bytea[]
) returns void language plpgsql as $$
declare
    found_data bytea;
begin
    perform hotmesh.lock_mail(namespaces, keys);
    for i in 1 .. cardinality(keys) loop
        delete from hotmesh.mail where mail.id = (
            select oldest.id from hotmesh.mail oldest
            where oldest.namespace = namespaces[i] and oldest.key = keys[i]
            order by oldest.id limit 1
        ) returning mail.data into found_data;
        if found then
            insert into hotmesh.stream (lane, kind, run_id, frame)
            values (lanes[i], 2, run_ids[i], frames[i] || found_data);
        else
            insert into hotmesh.wait (lane, run_id, namespace, key, frame)
            values (lanes[i], run_ids[i], namespaces[i], keys[i], frames[i]);
        end if;
    end loop;
end $$;


-- Deliver each mail to the run that has waited longest for its key, or keep it.
create or replace function hotmesh.mail(namespaces text[], keys text[], datas bytea[])
returns int[] language plpgsql as $$
declare
    waiter record;
    lanes int[] := '{}';
begin
    perform hotmesh.lock_mail(namespaces, keys);
    for i in 1 .. cardinality(keys) loop
        delete from hotmesh.wait where wait.id = (
            select oldest.id from hotmesh.wait oldest
            where oldest.namespace = namespaces[i] and oldest.key = keys[i]
            order by oldest.id limit 1
        ) returning wait.lane, wait.run_id, wait.frame into waiter;
        if found then
            insert into hotmesh.stream (lane, kind, run_id, frame)
            values (waiter.lane, 2, waiter.run_id, waiter.frame || datas[i]);
            lanes := lanes || waiter.lane;
        else
            insert into hotmesh.mail (namespace, key, data)
            values (namespaces[i], keys[i], datas[i]);
        end if;
    end loop;
    return lanes;
end $$;
