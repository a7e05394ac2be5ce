-- Messages past each lane's cursor, at most `lane_room` of a lane and `room` in all, oldest
-- first, up to the one with which they have `byte_room` bytes. Of a large one (see SMALL_BYTES_MAX in
-- limits.py; of a start with its run's header and input) there is a null in the place of its frame, and
-- it counts for nothing: `sizes` has their bytes, in order. They are known without reading what is large. With `behind_cursors` also those between these and the cursors that are not `known`:
-- ids are given out before commit, so a smaller one can become visible after a larger one.
-- Columns after the frames belong to the run, and are there for start messages only; without
-- `probe` no run is looked up in the journal, for none can have one. A run that has been moved to
-- another lane counts as journaled: it is to be looked up.
create or replace function hotmesh.read_messages(
    own_lanes int[], cursors bigint[], room int, lane_room int, byte_room bigint,
    behind_cursors bigint[], known bigint[], probe boolean,
    out ids bigint[], out lanes int[], out runs bytea[], out frames bytea[],
    out workflows text[], out types text[], out headers bytea[], out inputs bytea[],
    out journaled boolean[], out sizes bigint[]
) language plpgsql as $$
declare
    late bigint[];
begin
    if behind_cursors is not null then
        late := array(
            select stream.id
            from (
                select unnest(own_lanes) as lane, unnest(behind_cursors) as behind,
                    unnest(cursors) as ahead
            ) own
            cross join lateral (
                select message.id from hotmesh.stream message
                where message.lane = own.lane
                    and message.id > own.behind and message.id <= own.ahead
                offset 0
            ) stream
            except
            select unnest(known)
        );
    end if;

    select
        array_agg(page.id), array_agg(page.lane), array_agg(page.run_id),
        array_agg(case when page.size < 262144 then page.frame end),
        array_agg(page.workflow_id), array_agg(page.workflow_type),
        array_agg(case when page.size < 262144 then page.header end),
        array_agg(case when page.size < 262144 then page.input end),
        array_agg(
            page.kind = 0 and (
                page.workflow_id is null or probe
                and exists (select from hotmesh.journal where journal.run_id = page.run_id)
            )
        ),
        array_agg(page.size) filter (where page.size >= 262144)
    into ids, lanes, runs, frames, workflows, types, headers, inputs, journaled, sizes
    from (
        select found.*, run.workflow_id, run.workflow_type, run.header, run.input, whole.size,
            sum(case when whole.size < 262144 then whole.size else 0 end)
            over (order by found.id rows between unbounded preceding and 1 preceding) as before
        from (
            select next.* from (
                select unnest(own_lanes) as lane, unnest(cursors) as cursor
            ) own
            cross join lateral (
                select stream.id, stream.lane, stream.kind, stream.run_id, stream.frame
                from hotmesh.stream
                where stream.lane = own.lane and stream.id > own.cursor
                order by stream.id limit lane_room
            ) next
            union all
            select stream.id, stream.lane, stream.kind, stream.run_id, stream.frame
            from hotmesh.stream
            where late is not null and stream.lane = any (own_lanes) and stream.id = any (late)
            order by id limit room
        ) found
        left join lateral (
            select r.workflow_id, r.workflow_type, r.header, r.input,
                octet_length(r.header) + octet_length(r.input) as size
            from hotmesh.run r
            where found.kind = 0 and r.run_id = found.run_id and r.lane = found.lane offset 0
        ) run on true
        cross join lateral (
            select octet_length(found.frame)::bigint + coalesce(run.size, 0) as size
        ) whole
    ) page
    where page.before is null or page.before < byte_room;
end $$;


-- Timers of lanes: those due past `seen` up to `upto`, at most about `room` of them (all of the
-- last millisecond), and those up to `seen` whose transaction may have been running at the last
-- scan (`oldest_xid`). `covered` is how far this scan came.
create or replace function hotmesh.read_timers(
    own_lanes int[], seen bigint, upto bigint, oldest_xid bigint, room int,
    out lanes int[], out dues bigint[], out runs bytea[], out keys bigint[], out covered bigint
) language plpgsql as $$
declare
    ahead bigint;
begin
    -- Nearly always all there is fits.
    select array_agg(found.lane), array_agg(found.due_ms), array_agg(found.run_id),
        array_agg(found.key)
    into lanes, dues, runs, keys
    from (
        select timer.* from (select unnest(own_lanes) as lane) own
        cross join lateral (
            select t.lane, t.due_ms, t.run_id, t.key from hotmesh.timer t
            where t.lane = own.lane and t.due_ms <= upto
                and (t.due_ms > seen or t.xid >= oldest_xid::text::xid8)
            order by t.due_ms limit room
        ) timer
        order by timer.due_ms limit room
    ) found;
    if lanes is null or cardinality(lanes) < room then
        covered := greatest(upto, seen);
        return;
    end if;

    select count(*), max(found.due_ms) into ahead, covered
    from (
        select next.due_ms
        from unnest(own_lanes) own (lane)
        cross join lateral (
            select timer.due_ms from hotmesh.timer
            where timer.lane = own.lane and timer.due_ms > seen and timer.due_ms <= upto
            order by timer.due_ms limit room
        ) next
        order by next.due_ms limit room
    ) found;
    if ahead < room then
        covered := greatest(upto, seen);
    end if;

    select array_agg(found.lane), array_agg(found.due_ms), array_agg(found.run_id),
        array_agg(found.key)
    into lanes, dues, runs, keys
    from (
        select timer.* from unnest(own_lanes) own (lane)
        cross join lateral (
            select t.lane, t.due_ms, t.run_id, t.key from hotmesh.timer t
            where t.lane = own.lane and t.due_ms <= covered
                and (t.due_ms > seen or t.xid >= oldest_xid::text::xid8)
            offset 0
        ) timer
        order by timer.due_ms
    ) found;
end $$;
