-- Make runs with their first messages. Outcome arrays are null when every item made its run.
create or replace function hotmesh.apply_starts(
    now_ms bigint,
    namespaces text[],
    workflow_ids text[],
    run_ids bytea[],
    workflow_types text[],
    lanes int[],
    reuses int[],
    conflicts int[],
    delays bigint[],
    expires int[],
    headers bytea[],
    inputs bytea[],
    frames bytea[],
    attribute_items int[],
    attribute_names text[],
    attribute_values bytea[],
    event_items int[],
    event_frames bytea[],
    overs bytea[],
    again_ms bigint[],
    out started boolean[],
    out holders bytea[],
    out statuses int[]
) language plpgsql as $$
declare
    won bigint;
    keep boolean[];
    targets bytea[] := run_ids;
    previous bytea[];
begin
    insert into hotmesh.current (namespace, workflow_id, run_id)
    select unnest(namespaces), unnest(workflow_ids), unnest(run_ids)
    on conflict (namespace, workflow_id) do nothing;
    get diagnostics won = row_count;

    if won < cardinality(run_ids) then
        select s.started, s.holders, s.statuses, s.keep, s.targets, s.previous
        into started, holders, statuses, keep, targets, previous
        from hotmesh.settle_starts(
            namespaces, workflow_ids, run_ids, reuses, conflicts, overs, event_items,
            event_frames, again_ms
        ) s;
    end if;

    insert into hotmesh.run
        (
            started_ms, lane, expire_s, run_id, workflow_id, workflow_type, header, input,
            previous
        )
    select
        hotmesh.wall_ms(), lane, expire_s, run_id, workflow_id, workflow_type, header, input,
        coalesce(item.previous, '')
    from (
        select
            unnest(lanes) as lane, unnest(expires) as expire_s, unnest(run_ids) as run_id,
            unnest(workflow_ids) as workflow_id, unnest(workflow_types) as workflow_type,
            unnest(headers) as header, unnest(inputs) as input, unnest(keep) as keep,
            unnest(previous) as previous
    ) item
    where item.keep is not false;

    insert into hotmesh.stream (lane, kind, run_id, frame)
    select item.lane, 0, item.run_id, item.frame
    from (
        select
            unnest(lanes) as lane, unnest(run_ids) as run_id, unnest(frames) as frame,
            unnest(delays) as delay, unnest(keep) as keep
    ) item
    where item.keep is not false and item.delay <= 0;

    if won < cardinality(run_ids) or 0 < any (delays) then
        insert into hotmesh.timer (lane, due_ms, run_id, key)
        select item.lane, now_ms + item.delay, item.run_id, 0
        from (
            select
                unnest(lanes) as lane, unnest(run_ids) as run_id,
                unnest(delays) as delay, unnest(keep) as keep
        ) item
        where item.keep is not false and item.delay > 0;
    end if;

    if attribute_items is not null then
        insert into hotmesh.attribute (run_id, name, value)
        select run_ids[item.i], item.name, item.value
        from (
            select unnest(attribute_items) as i, unnest(attribute_names) as name,
                unnest(attribute_values) as value
        ) item
        where keep[item.i] is not false
        on conflict (run_id, name) do update set value = excluded.value;
    end if;

    if event_items is not null then
        insert into hotmesh.stream (lane, kind, run_id, frame)
        select run.lane, 1, run.run_id, item.frame
        from unnest(event_items, event_frames) with ordinality item (i, frame, position)
        cross join lateral (
            select r.lane, r.run_id from hotmesh.run r where r.run_id = targets[item.i] offset 0
        ) run
        order by item.position;
    end if;
end $$;


-- Decide, one by one, a batch of starts in which some workflow id was taken. `keep` says which
-- runs are to be made, `targets` which run takes an item's events (null: none), `previous` which
-- run had the workflow id before.
create or replace function hotmesh.settle_starts(
    namespaces text[],
    workflow_ids text[],
    run_ids bytea[],
    reuses int[],
    conflicts int[],
    overs bytea[],
    event_items int[],
    event_frames bytea[],
    again_ms bigint[],
    out started boolean[],
    out holders bytea[],
    out statuses int[],
    out keep boolean[],
    out targets bytea[],
    out previous bytea[]
) language plpgsql as $$
declare
    holder bytea;
    holder_status int;
    hearer bytea;
begin
    for i in 1 .. cardinality(run_ids) loop
        -- An earlier call (or an earlier item) with this run id made the run: nothing to do.
        select run.status into holder_status
        from hotmesh.run join hotmesh.queue on queue.id = run.lane / 64
        where run.run_id = run_ids[i] and queue.namespace = namespaces[i];
        if not found and run_ids[i] = any (run_ids[:i - 1]) then
            holder_status := 1;
        end if;
        if holder_status is not null then
            started[i] := true;
            holders[i] := run_ids[i];
            statuses[i] := holder_status;
            keep[i] := false;
            continue;
        end if;

        select current.run_id into holder from hotmesh.current
        where current.namespace = namespaces[i] and current.workflow_id = workflow_ids[i]
        for update;

        if holder <> run_ids[i] then
            -- The share lock waits for a close in flight; the status read is the newest one.
            select run.status into holder_status from hotmesh.run
            where run.run_id = holder for share;
            if not found and holder = any (run_ids) then
                holder_status := 1;
            end if;
            if again_ms[i] > 0 and array_position(event_items, i) is not null then
                hearer := hotmesh.heard(
                    holder, false, event_frames[array_position(event_items, i)], again_ms[i]
                );
                if hearer is not null then
                    -- It was open when it took the events.
                    started[i] := false;
                    holders[i] := hearer;
                    statuses[i] := 1;
                    keep[i] := false;
                    continue;
                end if;
            end if;
            if holder_status = 1
                or reuses[i] = 3
                or (reuses[i] = 2 and holder_status not in (3, 4, 5, 7))
                or overs[i] <> holder
            then
                started[i] := false;
                holders[i] := holder;
                statuses[i] := holder_status;
                keep[i] := false;
                if holder_status = 1 and conflicts[i] = 2 then
                    targets[i] := holder;
                end if;
                continue;
            end if;
            update hotmesh.current set run_id = run_ids[i]
            where current.namespace = namespaces[i] and current.workflow_id = workflow_ids[i];
            previous[i] := holder;
        end if;
        started[i] := true;
        holders[i] := run_ids[i];
        statuses[i] := 1;
        keep[i] := true;
        targets[i] := run_ids[i];
    end loop;
end $$;


-- A client's batch of starts.
create or replace function hotmesh.start(
    namespaces text[],
    workflow_ids text[],
    run_ids bytea[],
    workflow_types text[],
    lanes int[],
    reuses int[],
    conflicts int[],
    delays bigint[],
    expires int[],
    headers bytea[],
    inputs bytea[],
    frames bytea[],
    attribute_items int[],
    attribute_names text[],
    attribute_values bytea[],
    event_items int[],
    event_frames bytea[],
    overs bytea[],
    again_ms bigint[],
    out started boolean[],
    out holders bytea[],
    out statuses int[]
) language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    select s.started, s.holders, s.statuses into started, holders, statuses
    from hotmesh.apply_starts(
        hotmesh.now_ms(), namespaces, workflow_ids, run_ids, workflow_types, lanes, reuses,
        conflicts, delays, expires, headers, inputs, frames, attribute_items, attribute_names,
        attribute_values, event_items, event_frames, overs, again_ms
    ) s;
end $$;
