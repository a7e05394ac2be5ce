-- An array argument of a call, with the large items put in that were sent ahead in pieces.
-- That table is empty after a crash and on a standby that takes over: what is no longer all there must
-- not be taken for the value.
create or replace function hotmesh.whole(
    items bytea[], own_call bytea, own_place int, places int[], numbers int[], sizes bigint[]
) returns bytea[] language plpgsql as $$
declare
    sent record;
    data bytea;
begin
    for sent in
        select large.number, large.size
        from unnest(places, numbers, sizes) large (place, number, size)
        where large.place = own_place
    loop
        select string_agg(piece.data, ''::bytea order by piece.number) into data
        from hotmesh.piece
        where piece.call = own_call and piece.place = own_place and piece.item = sent.number;
        if octet_length(data) is distinct from sent.size then
            raise exception 'what was sent ahead of this call is gone' using errcode = '57000';
        end if;
        items[sent.number] := data;
    end loop;
    delete from hotmesh.piece where piece.call = own_call and piece.place = own_place;
    return items;
end $$;


-- One batch of a router's pipe: apply, then read, in the order that protocol.py's Step names.
-- A part whose columns are null runs no statement.
--
-- These tables fill and empty all the time, so what the planner believes about their size is
-- wrong at times. Rows are therefore found through a lateral subquery that can't be flattened
-- (`offset 0`): one index probe for each item, whatever the planner believes. Where the rows
-- found are then changed, they are named by ctid, which only rows that nobody else updates
-- allow.
--
-- Raises HM001, with the run ids in hex as its detail, when runs can't close because an unread
-- event waits for them; HM003 when runs are not stored as the step believes (gone, closed, of
-- another queue, or their journal has not just what precedes the new rows; looked up of those that
-- the session is unsure of); a duplicate journal row raises a unique
-- violation. Nothing was applied then.
create or replace function hotmesh.step(
    own_namespace text,
    router bytea,
    router_lock bigint,
    latest bigint,
    -- What to read; `lanes` null reads nothing, `timer_horizon` null no timers.
    lanes int[],
    cursors bigint[],
    room int,
    lane_room int,
    byte_room bigint,
    behind_cursors bigint[],
    known bigint[],
    probe boolean,
    mark boolean,
    timer_horizon bigint,
    timer_seen bigint,
    timer_xid bigint,
    timer_room int,
    -- What to apply.
    journal_run bytea[],
    journal_seq int[],
    journal_frame bytea[],
    unsure_run bytea[],
    unsure_seq int[],
    ack_lane int[],
    ack_id bigint[],
    timer_lane int[],
    timer_due bigint[],
    timer_run bytea[],
    timer_key bigint[],
    drop_timer_lane int[],
    drop_timer_due bigint[],
    drop_timer_run bytea[],
    drop_timer_key bigint[],
    task_queue int[],
    task_type text[],
    task_lane int[],
    task_run bytea[],
    task_seq int[],
    task_attempt int[],
    task_delay bigint[],
    task_frame bytea[],
    task_state bytea[],
    outside_run bytea[],
    outside_seq int[],
    drop_task_run bytea[],
    drop_task_seq int[],
    recall_task_run bytea[],
    recall_task_seq int[],
    recall_task_frame bytea[],
    recall_task_claimed boolean[],
    attribute_run bytea[],
    attribute_name text[],
    attribute_value bytea[],
    close_run bytea[],
    close_status int[],
    close_result bytea[],
    close_waits boolean[],
    start_namespace text[],
    start_workflow text[],
    start_run bytea[],
    start_type text[],
    start_lane int[],
    start_reuse int[],
    start_conflict int[],
    start_delay bigint[],
    start_expire int[],
    start_header bytea[],
    start_input bytea[],
    start_frame bytea[],
    start_attribute_item int[],
    start_attribute_name text[],
    start_attribute_value bytea[],
    start_event_item int[],
    start_event_frame bytea[],
    message_lane int[],
    message_run bytea[],
    message_kind int[],
    message_frame bytea[],
    move_run bytea[],
    move_from int[],
    move_to int[],
    send_namespace text[],
    send_workflow text[],
    send_run bytea[],
    send_kind int[],
    send_frame bytea[],
    send_closed boolean[],
    send_again bigint[],
    wait_namespace text[],
    wait_key text[],
    wait_lane int[],
    wait_run bytea[],
    wait_frame bytea[],
    mail_namespace text[],
    mail_key text[],
    mail_data bytea[],
    reply_ids bytea[],
    reply_datas bytea[],
    -- What came back. `server` is when the server started. `oldest_xid` tells the reader what it can't have seen yet: a transaction
    -- before it was over when the read began. `last_id` is the last message id handed out before
    -- the step applied anything, if `probe` or `mark`; `mark_xid`, if `mark`, is later than any
    -- transaction that was given a message id up to there.
    out now bigint,
    out fenced boolean,
    out server bigint,
    out oldest_xid bigint,
    out mark_xid bigint,
    out last_id bigint,
    out message_ids bigint[],
    out message_lanes int[],
    out message_runs bytea[],
    out message_frames bytea[],
    out message_workflows text[],
    out message_types text[],
    out message_headers bytea[],
    out message_inputs bytea[],
    out message_journaled boolean[],
    out message_sizes bigint[],
    out timer_lanes int[],
    out timer_dues bigint[],
    out timer_runs bytea[],
    out timer_keys bigint[],
    out timer_covered bigint,
    out started boolean[],
    out start_holders bytea[],
    out start_statuses int[],
    out sent boolean[],
    out send_receivers bytea[],
    out send_statuses int[],
    out send_lanes int[],
    out mail_lanes int[]
) language plpgsql
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    own_queue int;
    shift bigint;
    stale text;
    -- The router's task queue, and its side queues.
    own_queues int[];
begin
    -- Not `now_ms()`: a function that reads a table is called anew each time.
    select hotmesh.wall_ms() + clock.shift_ms, clock.shift_ms into now, shift from hotmesh.clock;
    now := hotmesh.steady(now, latest);
    server := extract(epoch from pg_postmaster_start_time()) * 1000;

    -- Whoever declares this router dead holds the lock alone, so either the death is committed
    -- and seen here, or it waits until this step is over.
    perform pg_advisory_xact_lock_shared(router_lock);
    select not router_row.alive, router_row.queue_id, array(
        select queue.id from hotmesh.queue where queue.home = router_row.queue_id
    ) || router_row.queue_id
    into fenced, own_queue, own_queues
    from hotmesh.router router_row
    where router_row.router_id = router and router_row.namespace = own_namespace;
    if not found or fenced then
        fenced := true;
        return;
    end if;
    if (own_queue * 64 > any (lanes) or own_queue * 64 + 63 < any (lanes))
        and exists (select from unnest(lanes) lane where lane / 64 <> all (own_queues))
    then
        raise exception 'a lane to read is not one of task queue %', own_queue
            using errcode = 'HM002';
    end if;

    -- Before this transaction gets its id, so that whoever was given a message id up to this one
    -- has a smaller transaction id: writers get theirs before they ask for message ids. The upper
    -- end of a snapshot would not do, for transactions beyond it may be running.
    if probe or mark then
        select case when is_called then last_value else 0 end into last_id
        from hotmesh.stream_id_seq;
    end if;

    -- Runs of other lanes are locked along with those to close, all in one order: routers that
    -- close runs and send to each other's at once would wait for each other otherwise.
    if send_frame is not null or 1 = any (message_kind) or move_run is not null then
        perform from (
            select from hotmesh.run
            where run.run_id = any (
                coalesce(close_run, '{}') || coalesce(message_run, '{}')
                || coalesce(move_run, '{}')
                || hotmesh.resolve_sends(send_namespace, send_workflow, send_run)
            )
            order by run.run_id for no key update
        ) locked;
    end if;

    if journal_run is not null then
        insert into hotmesh.journal (run_id, seq, frame)
        select unnest(journal_run), unnest(journal_seq), unnest(journal_frame);
    end if;

    if unsure_run is not null then
        -- A statement of its own, for it must see these rows: a run may have several. Where a run
        -- has been closed, or is gone, its journal is longer, or gone with it.
        select string_agg(distinct encode(item.run_id, 'hex'), ',') into stale
        from (select unnest(unsure_run) as run_id, unnest(unsure_seq) as seq) item
        where case item.seq
            when 0 then not exists (
                select from hotmesh.run
                where run.run_id = item.run_id and run.status = 1
                    and run.lane / 64 = any (own_queues)
                offset 0
            )
            else not exists (
                select from hotmesh.journal before
                where before.run_id = item.run_id and before.seq = item.seq - 1 offset 0
            )
        end;
        if stale is not null then
            raise exception 'runs are not stored as the step believes'
                using errcode = 'HM003', detail = stale;
        end if;
    end if;

    if ack_id is not null then
        delete from hotmesh.stream
        using (select unnest(ack_lane) as lane, unnest(ack_id) as id) ack
        cross join lateral (
            select read.ctid as place from hotmesh.stream read
            where read.lane = ack.lane and read.id = ack.id offset 0
        ) found
        where stream.ctid = found.place;
    end if;

    if timer_run is not null then
        insert into hotmesh.timer (lane, due_ms, run_id, key)
        select unnest(timer_lane), unnest(timer_due), unnest(timer_run), unnest(timer_key)
        on conflict (lane, due_ms, run_id, key) do nothing;
    end if;

    if drop_timer_run is not null then
        delete from hotmesh.timer
        using (
            select unnest(drop_timer_lane) as lane, unnest(drop_timer_due) as due_ms,
                unnest(drop_timer_run) as run_id, unnest(drop_timer_key) as key
        ) gone
        cross join lateral (
            select old.ctid as place from hotmesh.timer old
            where old.lane = gone.lane and old.due_ms = gone.due_ms
                and old.run_id = gone.run_id and old.key = gone.key offset 0
        ) found
        where timer.ctid = found.place;
    end if;

    if task_run is not null then
        perform hotmesh.put_tasks(
            now, task_queue, task_type, task_lane, task_run, task_seq, task_attempt, task_delay,
            task_frame, task_state
        );
    end if;

    if outside_run is not null then
        for i in 1 .. cardinality(outside_run) loop
            update hotmesh.task set owner = 'outside'
            where task.run_id = outside_run[i] and task.seq = outside_seq[i]
                and task.owner is null and task.attempt = 1
                and task.lane / 64 = any (own_queues);
        end loop;
    end if;

    if drop_task_run is not null then
        for i in 1 .. cardinality(drop_task_run) loop
            delete from hotmesh.task
            where task.run_id = drop_task_run[i] and task.seq = drop_task_seq[i]
                and task.lane / 64 = any (own_queues);
        end loop;
    end if;

    if recall_task_run is not null then
        perform hotmesh.recall_tasks(
            own_queues, recall_task_run, recall_task_seq, recall_task_frame, recall_task_claimed
        );
    end if;

    if attribute_run is not null then
        perform hotmesh.put_attributes(
            own_namespace, attribute_run, attribute_name, attribute_value
        );
    end if;

    if close_run is not null then
        perform hotmesh.close_runs(
            hotmesh.wall_ms(), own_queues, close_run, close_status, close_result, close_waits
        );
    end if;

    if start_run is not null then
        select s.started, s.holders, s.statuses into started, start_holders, start_statuses
        from hotmesh.apply_starts(
            now, start_namespace, start_workflow, start_run, start_type, start_lane, start_reuse,
            start_conflict, start_delay, start_expire, start_header, start_input, start_frame,
            start_attribute_item, start_attribute_name, start_attribute_value,
            start_event_item, start_event_frame, null, null
        ) s;
    end if;

    if message_run is not null then
        -- A reader takes it for granted that a transaction has its id before its messages have.
        perform pg_current_xact_id();
        -- One to a closed run goes to the run's own lane: the one that it was in may be read no more.
        -- A step that moves the run sees to it that the lane is read.
        insert into hotmesh.stream (lane, kind, run_id, frame)
        select
            case when run.status = 1 or run.run_id = any (move_run) then item.lane else run.lane end,
            item.kind, item.run_id, item.frame
        from unnest(message_lane, message_kind, message_run, message_frame)
            with ordinality item (lane, kind, run_id, frame, position)
        cross join lateral (
            select r.run_id, r.lane, r.status from hotmesh.run r
            where r.run_id = item.run_id offset 0
        ) run
        where item.lane / 64 = own_queue or exists (
            select from hotmesh.queue
            where queue.id = item.lane / 64 and queue.namespace = own_namespace
        )
        order by item.position;
    end if;

    if move_run is not null then
        perform hotmesh.move_runs(now, router, own_queues, move_run, move_from, move_to);
    end if;

    if send_frame is not null then
        select s.delivered, s.receivers, s.statuses, s.lanes
        into sent, send_receivers, send_statuses, send_lanes
        from hotmesh.apply_sends(
            send_namespace, send_workflow, send_run, send_kind, send_frame, send_closed,
            send_again
        ) s;
    end if;

    if wait_run is not null then
        perform hotmesh.apply_waits(wait_namespace, wait_key, wait_lane, wait_run, wait_frame);
    end if;

    if mail_key is not null then
        mail_lanes := hotmesh.mail(mail_namespace, mail_key, mail_data);
    end if;

    if reply_ids is not null then
        insert into hotmesh.reply (created_ms, namespace, reply_id, data)
        select now, own_namespace, unnest(reply_ids), unnest(reply_datas)
        on conflict (reply_id, namespace) do nothing;
    end if;

    if lanes is null then
        return;
    end if;
    if mark then
        mark_xid := pg_current_xact_id()::text::bigint;
    end if;
    oldest_xid := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    if room > 0 then
        select m.ids, m.lanes, m.runs, m.frames, m.workflows, m.types, m.headers, m.inputs,
            m.journaled, m.sizes
        into message_ids, message_lanes, message_runs, message_frames, message_workflows,
            message_types, message_headers, message_inputs, message_journaled, message_sizes
        from hotmesh.read_messages(
            lanes, cursors, room, lane_room, byte_room, behind_cursors, known, probe
        ) m;
    end if;
    if timer_horizon is not null then
        select t.lanes, t.dues, t.runs, t.keys, t.covered
        into timer_lanes, timer_dues, timer_runs, timer_keys, timer_covered
        from hotmesh.read_timers(
            lanes, timer_seen, now + timer_horizon, timer_xid, timer_room
        ) t;
    end if;
    now := hotmesh.wall_ms() + shift;
end $$;


-- Close runs, by the wall clock; refuse all of it when an event that nobody has read waits for one of them.
create or replace function hotmesh.close_runs(
    now bigint, own_queues int[], run_ids bytea[], statuses int[], results bytea[],
    waits boolean[]
) returns void language plpgsql as $$
declare
    unread text;
begin
    with closed as (
        update hotmesh.run
        set status = item.status, closed_ms = now, result = item.result
        from (
            select unnest(run_ids) as run_id, unnest(statuses) as status,
                unnest(results) as result
        ) item
        cross join lateral (
            select open.ctid as place from hotmesh.run open
            where open.run_id = item.run_id and open.lane / 64 = any (own_queues) offset 0
        ) found
        where run.ctid = found.place and run.status = 1
        returning run.run_id, run.expire_s
    )
    insert into hotmesh.expiry (due_ms, run_id)
    select now + closed.expire_s::bigint * 1000, closed.run_id from closed
    where closed.expire_s >= 0;

    -- Whatever is asked of a closed run is asked in its task queue's own lane.
    with gone as (
        delete from hotmesh.moved where moved.run_id = any (run_ids) returning moved.run_id
    )
    update hotmesh.run set lane = hotmesh.home_lane(run.lane)
    from gone where run.run_id = gone.run_id;

    -- A statement of its own, for it must see what was sent while the update waited for a lock.
    select string_agg(distinct encode(stream.run_id, 'hex'), ',') into unread
    from hotmesh.stream where stream.run_id = any (run_ids) and stream.kind = 1;
    if unread is not null then
        raise exception 'unread events wait for runs that were to close'
            using errcode = 'HM001', detail = unread;
    end if;

    if true = any (waits) then
        delete from hotmesh.wait where wait.run_id = any (array(
            select item.run_id
            from (select unnest(run_ids) as run_id, unnest(waits) as waits) item
            where item.waits
        )) and wait.lane / 64 = any (own_queues);
    end if;
end $$;


-- Insert activity tasks, unclaimed; one that is there stays as it is.
create or replace function hotmesh.put_tasks(
    now bigint, queues int[], types text[], lanes int[], run_ids bytea[], seqs int[],
    attempts int[], delays bigint[], frames bytea[], states bytea[]
) returns void language plpgsql as $$
begin
    if -1 = any (attempts) then
        -- One of the two waits for the other: this, or a client that completes such an activity and
        -- finds no task of it.
        perform from hotmesh.run
        where run.run_id in (
            select each.run_id from unnest(run_ids, attempts) each (run_id, attempt)
            where each.attempt = -1
        )
        order by run.run_id for no key update;
    end if;
    insert into hotmesh.task
        (due_ms, scheduled_ms, queue_id, activity_type, lane, seq, attempt, run_id, frame, state)
    select now + unnest(delays), now, unnest(queues), unnest(types), unnest(lanes),
        unnest(seqs), abs(unnest(attempts)), unnest(run_ids), unnest(frames), unnest(states)
    on conflict (run_id, seq) do nothing;
    if -1 = any (attempts) then
        -- A statement of its own: where one that was there is finished just now, the insert has
        -- waited for that, and this one sees what it has left.
        for i in 1 .. cardinality(attempts) loop
            if attempts[i] = -1 then
                delete from hotmesh.ended
                where ended.run_id = run_ids[i] and ended.seq = seqs[i];
                if found then
                    delete from hotmesh.task
                    where task.run_id = run_ids[i] and task.seq = seqs[i];
                else
                    -- The journal has it as a task now.
                    update hotmesh.task set held = false
                    where task.run_id = run_ids[i] and task.seq = seqs[i] and task.held;
                end if;
            end if;
        end loop;
    end if;
end $$;


-- Take back tasks: unclaimed ones become a message to their run, claimed ones are marked.
create or replace function hotmesh.recall_tasks(
    own_queues int[], run_ids bytea[], seqs int[], frames bytea[], claimed boolean[]
) returns void language plpgsql as $$
declare
    task_lane int;
begin
    for i in 1 .. cardinality(run_ids) loop
        delete from hotmesh.task
        where task.run_id = run_ids[i] and task.seq = seqs[i] and task.owner is null
            and task.lane / 64 = any (own_queues)
        returning task.lane into task_lane;
        if found then
            insert into hotmesh.stream (lane, kind, run_id, frame)
            values (task_lane, 2, run_ids[i], frames[i]);
        elsif claimed[i] then
            update hotmesh.task set recalled = true
            where task.run_id = run_ids[i] and task.seq = seqs[i]
                and task.lane / 64 = any (own_queues);
        end if;
    end loop;
end $$;


-- Merge attributes; an empty value removes the name. The last of a name in the batch wins. Runs
-- that are not there, or in another namespace, have no record to write to.
create or replace function hotmesh.put_attributes(
    own_namespace text, run_ids bytea[], names text[], attribute_values bytea[]
) returns void language plpgsql as $$
begin
    with item as (
        select distinct on (i.run_id, i.name) i.run_id, i.name, i.value
        from unnest(run_ids, names, attribute_values)
            with ordinality i (run_id, name, value, position)
        where exists (
            select from hotmesh.run join hotmesh.queue on queue.id = run.lane / 64
            where run.run_id = i.run_id and queue.namespace = own_namespace
        )
        order by i.run_id, i.name, i.position desc
    ), gone as (
        delete from hotmesh.attribute using item
        cross join lateral (
            select old.ctid as place from hotmesh.attribute old
            where old.run_id = item.run_id and old.name = item.name offset 0
        ) found
        where item.value = '' and attribute.ctid = found.place
    )
    insert into hotmesh.attribute (run_id, name, value)
    select item.run_id, item.name, item.value from item
    where item.value <> ''
        and exists (select from hotmesh.run where run.run_id = item.run_id offset 0)
    on conflict (run_id, name) do update set value = excluded.value;
end $$;
