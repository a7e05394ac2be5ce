-- name: clock
-- The store's time in milliseconds.
select hotmesh.now_ms();

-- name: session
-- What a connection without a pooler begins with. The functions count on each of their statements
-- seeing what was committed just before.
set default_transaction_isolation to 'read committed';

-- name: missing_rights
-- What the user may not do in a schema, by object.
select current_user::text as role, missing.object, string_agg(missing.privilege, ', ') as rights
from (
    select format('schema %I', n.nspname) as object, 'USAGE' as privilege
    from pg_namespace n
    where n.nspname = $1 and not has_schema_privilege(n.oid, 'USAGE')
    union all
    select format('table %I.%I', n.nspname, c.relname), p.privilege
    from pg_namespace n
    join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p')
    cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p (privilege)
    where n.nspname = $1 and not has_table_privilege(c.oid, p.privilege)
    union all
    select format('sequence %I.%I', n.nspname, c.relname), p.privilege
    from pg_namespace n
    join pg_class c on c.relnamespace = n.oid and c.relkind = 'S'
    cross join unnest(array['USAGE', 'SELECT']) p (privilege)
    where n.nspname = $1
        and case when c.relkind = 'S' then not has_sequence_privilege(c.oid, p.privilege) end
    union all
    select format('function %s', f.oid::regprocedure), 'EXECUTE'
    from pg_namespace n
    join pg_proc f on f.pronamespace = n.oid
    where n.nspname = $1 and not has_function_privilege(f.oid, 'EXECUTE')
) missing
group by missing.object order by missing.object;

-- name: begin
-- Open a transaction, for what takes several messages. Who opened it may stop or vanish in the
-- middle; the locks it holds then, a router's fence among them, must not outlive that for long.
begin isolation level read committed;
set local idle_in_transaction_session_timeout = 2000;

-- name: commit
-- End a transaction.
commit;

-- name: rollback
-- Undo a transaction.
rollback;

-- name: schema_lock
-- Let one process at a time look at the schema and change it.
select pg_advisory_xact_lock($1);

-- name: schema_exists
-- Whether a schema has HotMesh's tables. Read from the catalog, for `to_regclass` may answer from
-- a cache that does not know yet what another process did while we waited for the lock.
select exists (
    select from pg_catalog.pg_class table_row
    join pg_catalog.pg_namespace schema_row on schema_row.oid = table_row.relnamespace
    where schema_row.nspname = $1 and table_row.relname = 'meta'
);

-- name: schema_version
-- Version of the stored schema.
select version from hotmesh.meta;

-- name: schema_absent
-- Whether the schema itself is to be made, which takes a privilege even when it is there.
select not exists (select from pg_catalog.pg_namespace where nspname = $1);

-- name: schema_create
-- Make the schema's place.
create schema hotmesh;

-- name: schema_stamp
-- Record the version that the schema was brought to.
with gone as (delete from hotmesh.meta) insert into hotmesh.meta (version) values ($1);

-- name: backend_pid
-- The server process behind this connection; differs from the one announced behind a pooler.
select pg_backend_pid();

-- name: step
-- A router's batch: see functions/step.sql.
select * from hotmesh.step(@97@);

-- name: journaled
-- Which of these journal rows are there already, by their runs.
select distinct item.run_id
from unnest($1::bytea[], $2::int[]) item (run_id, seq)
where exists (
    select from hotmesh.journal
    where journal.run_id = item.run_id and journal.seq = item.seq offset 0
);

-- name: whole
-- An array argument of another statement, with the large items put in that were sent ahead.
hotmesh.whole(${argument}, ${call}, {argument}, ${places}, ${numbers}, ${sizes})

-- name: put_piece
-- A piece of a large item of an argument of a call that is to come.
insert into hotmesh.piece (call, place, item, number, put_ms, data)
values ($1, $2, $3, $4, hotmesh.wall_ms(), $5);

-- name: drop_pieces
-- What was sent ahead of a call that was refused.
delete from hotmesh.piece where piece.call = $1;

-- name: messages
-- Messages by lane and id, as read_messages has them, in this order. What is large goes in pieces.
select
    stream.id, stream.lane, stream.run_id,
    case when octet_length(stream.frame) < 4194304 then stream.frame end,
    run.workflow_id, run.workflow_type, run.header,
    case when octet_length(run.input) < 4194304 then run.input end,
    stream.kind = 0 and (
        run.workflow_id is null
        or exists (select from hotmesh.journal where journal.run_id = stream.run_id)
    )
from unnest($1::int[], $2::bigint[]) with ordinality wanted (lane, id, position)
cross join lateral (
    select s.id, s.lane, s.kind, s.run_id, s.frame from hotmesh.stream s
    where s.lane = wanted.lane and s.id = wanted.id offset 0
) stream
left join lateral (
    select r.workflow_id, r.workflow_type, r.header, r.input from hotmesh.run r
    where stream.kind = 0 and r.run_id = stream.run_id and r.lane = stream.lane offset 0
) run on true
order by wanted.position;

-- name: message_piece
-- A piece of a message's frame.
select substring(stream.frame from $3::int for $4::int) from hotmesh.stream
where stream.lane = $1 and stream.id = $2;

-- name: input_piece
-- A piece of a run's input.
select substring(run.input from $2::int for $3::int) from hotmesh.run where run.run_id = $1;

-- name: frame_piece
-- A piece of a journal's frame.
select substring(journal.frame from $3::int for $4::int) from hotmesh.journal
where journal.run_id = $1 and journal.seq = $2;

-- name: start
-- A client's batch of starts.
select * from hotmesh.start(@19@);

-- name: send
-- A client's batch of messages.
select * from hotmesh.send(@7@);

-- name: mail
-- A client's batch of mail; the lanes delivered to.
select hotmesh.mail(@3@);

-- name: tasks
-- An activity worker's batch.
select * from hotmesh.tasks(@23@);

-- name: complete_task
-- Finish an activity from outside its worker; the lane told, null for none.
select hotmesh.complete_task(@5@);

-- name: queue_ids
-- The ids of task queues and side queues, made on first use; null where another has the wanted one.
select hotmesh.queue_id(queue.namespace, queue.task_queue, queue.side, queue.wanted, false)
from unnest($1::text[], $2::text[], $3::text[], $4::int[])
    queue (namespace, task_queue, side, wanted);

-- name: queues_of_ids
-- The queues with ids from one to another.
select id, namespace, task_queue, side from hotmesh.queue where id >= $1::int and id < $2::int;

-- name: put_queue
-- A task queue or side queue under an id, whatever has it now.
select hotmesh.queue_id($1::text, $2::text, $3::text, $4::int, true);

-- name: note
-- Write into the records of runs.
select hotmesh.put_attributes(@4@);

-- name: beat
-- A router's heartbeat.
select * from hotmesh.beat(@18@);

-- name: release
-- Give lanes back.
update hotmesh.lane set owner = null
where owner = $2 and lane = any ($3)
    and exists (
        select from hotmesh.queue where queue.id = lane.lane / 64 and queue.namespace = $1
    );

-- name: leave
-- Give everything back.
select hotmesh.leave(@3@);

-- name: stand_down
-- Give the lanes up, keep what has begun.
select hotmesh.stand_down(@12@);

-- name: prune
-- Delete a bounded number of runs that closed long ago.
select * from hotmesh.prune(@4@);

-- name: results
-- Which of these runs are closed, and how, up to the one with which they have so many bytes;
-- status 0 for those that do not exist.
select page.run_id, page.status, page.result
from (
    select wanted.run_id, coalesce(run.status, 0) as status, coalesce(run.result, '') as result,
        sum(octet_length(run.result)) over (
            order by wanted.position rows between unbounded preceding and 1 preceding
        ) as before
    from unnest($2::bytea[]) with ordinality wanted (run_id, position)
    left join lateral (
        select r.status, r.result
        from hotmesh.run r join hotmesh.queue on queue.id = r.lane / 64
        where r.run_id = wanted.run_id and queue.namespace = $1 offset 0
    ) run on true
    where run.status is distinct from 1
) page
where page.before is null or page.before < $3;

-- name: replies
-- Replies, up to the one with which they have so many bytes, and an end to those that were received.
with received as (
    delete from hotmesh.reply where reply_id = any ($3) and namespace = $1
)
select page.reply_id, page.data from (
    select reply.reply_id, reply.data, sum(octet_length(reply.data)) over (
        rows between unbounded preceding and 1 preceding
    ) as before
    from hotmesh.reply where reply.reply_id = any ($2) and reply.namespace = $1
) page
where page.before is null or page.before < $4;

-- name: tasks_of
-- Activity tasks of a run.
select task.seq, task.attempt, task.due_ms, coalesce(task.owner, ''), task.frame, task.state,
    task.scheduled_ms, task.recalled
from hotmesh.task
join hotmesh.queue on queue.id = task.queue_id and queue.namespace = $1
where task.run_id = $2 and task.seq = any ($3)
order by task.seq;

-- name: tasks_of_runs
-- The most tried activity tasks of each run with how many it has, up to the run with which they have
-- so many bytes; a run without tasks gives a row of nulls.
select page.* from (
    select wanted.position::int, task.total::int, task.seq, task.attempt, task.due_ms, task.owner,
        task.frame, task.state, task.scheduled_ms, task.recalled,
        sum(octet_length(task.frame) + octet_length(task.state)) over (
            order by wanted.position groups between unbounded preceding and 1 preceding
        ) as before
    from unnest($2::bytea[]) with ordinality wanted (run_id, position)
    left join lateral (
        select found.seq, found.attempt, found.due_ms, coalesce(found.owner, '') as owner,
            found.frame, found.state, found.scheduled_ms, found.recalled, count(*) over () as total
        from hotmesh.task found
        join hotmesh.queue on queue.id = found.queue_id and queue.namespace = $1
        where found.run_id = wanted.run_id
        order by found.attempt desc, found.seq
        limit $3
    ) task on true
) page
where page.before is null or page.before < $4
order by page.position, page.attempt desc, page.seq;

-- name: journal
-- The journal of a run; null in the place of a large frame.
select case when octet_length(journal.frame) < 4194304 then journal.frame end, journal.seq
from hotmesh.run
join hotmesh.queue on queue.id = run.lane / 64 and queue.namespace = $1
join hotmesh.journal on journal.run_id = run.run_id
where run.run_id = $2
order by journal.seq;

-- name: load
-- Runs of a namespace with their journals; of those with more than so many bytes just what is small.
select run.run_id, run.lane, run.status, run.workflow_id, run.workflow_type,
    case when size.fits then run.header end as header,
    case when size.fits then run.input end,
    case when size.fits then array(
        select journal.frame from hotmesh.journal
        where journal.run_id = run.run_id order by journal.seq
    ) end,
    case when size.fits then array(
        select attribute.name from hotmesh.attribute
        where attribute.run_id = run.run_id order by attribute.name
    ) end,
    case when size.fits then array(
        select attribute.value from hotmesh.attribute
        where attribute.run_id = run.run_id order by attribute.name
    ) end,
    (
        select coalesce(max(journal.seq) + 1, 0) from hotmesh.journal
        where journal.run_id = run.run_id
    )
from hotmesh.run
join hotmesh.queue on queue.id = run.lane / 64 and queue.namespace = $1
cross join lateral (
    select octet_length(run.header) + octet_length(run.input) + coalesce((
        select sum(octet_length(journal.frame)) from hotmesh.journal
        where journal.run_id = run.run_id
    ), 0) + coalesce((
        select sum(octet_length(attribute.value)) from hotmesh.attribute
        where attribute.run_id = run.run_id
    ), 0) <= $3 as fits
    offset 0
) size
where run.run_id = any ($2);

-- name: load_large
-- A run without its journal, which comes row by row: an array can't hold more than 1 GiB. In the
-- place of a large input there is a null.
select run.run_id, run.lane, run.status, run.workflow_id, run.workflow_type, run.header,
    case when octet_length(run.input) < 4194304 then run.input end,
    '{}'::bytea[],
    array(
        select attribute.name from hotmesh.attribute
        where attribute.run_id = run.run_id order by attribute.name
    ),
    array(
        select attribute.value from hotmesh.attribute
        where attribute.run_id = run.run_id order by attribute.name
    ),
    (
        select coalesce(max(journal.seq) + 1, 0) from hotmesh.journal
        where journal.run_id = run.run_id
    )
from hotmesh.run
join hotmesh.queue on queue.id = run.lane / 64 and queue.namespace = $1
where run.run_id = $2;

-- name: find
-- Runs by namespace, workflow id and run id ('' for the newest), in order; null where unknown.
select wanted.position, run.run_id, queue.namespace, run.workflow_id, run.workflow_type, run.lane,
    queue.task_queue, run.status, run.header, run.input, run.result,
    array(
        select attribute.name from hotmesh.attribute
        where attribute.run_id = run.run_id order by attribute.name
    ),
    array(
        select attribute.value from hotmesh.attribute
        where attribute.run_id = run.run_id order by attribute.name
    ),
    run.started_ms, run.closed_ms,
    (select count(*) from hotmesh.journal where journal.run_id = run.run_id)
from unnest($1::text[], $2::text[], $3::bytea[])
    with ordinality wanted (namespace, workflow_id, run_id, position)
left join lateral (
    select c.run_id from hotmesh.current c
    where wanted.run_id = ''
        and c.namespace = wanted.namespace and c.workflow_id = wanted.workflow_id
    offset 0
) current on true
cross join lateral (
    select r.* from hotmesh.run r
    where r.run_id = coalesce(current.run_id, wanted.run_id)
        and r.workflow_id = wanted.workflow_id
    offset 0
) run
join hotmesh.queue on queue.id = run.lane / 64 and queue.namespace = wanted.namespace;

-- name: runs
-- Runs of a namespace that a condition holds for, newest first, without input and result, up to the
-- one with which they have so many bytes; then how many bytes each counts for.
select page.* from (
    select 0, run.run_id, queue.namespace, run.workflow_id, run.workflow_type, run.lane,
        queue.task_queue, run.status, run.header, ''::bytea as input, ''::bytea as result,
        array(
            select attribute.name from hotmesh.attribute
            where attribute.run_id = run.run_id order by attribute.name
        ),
        array(
            select attribute.value from hotmesh.attribute
            where attribute.run_id = run.run_id order by attribute.name
        ),
        run.started_ms, run.closed_ms, 0, size.bytes,
        sum(size.bytes) over (
            order by run.run_id desc rows between unbounded preceding and 1 preceding
        ) as before
    from (
        select found.* from hotmesh.run found
        join hotmesh.queue on queue.id = found.lane / 64
        where queue.namespace = $1 and ($2::bytea = '' or found.run_id < $2) and {where}
        order by found.run_id desc
        limit $3
    ) run
    join hotmesh.queue on queue.id = run.lane / 64
    cross join lateral (
        select octet_length(run.header) + coalesce((
            select sum(octet_length(attribute.value)) from hotmesh.attribute
            where attribute.run_id = run.run_id
        ), 0) as bytes
        offset 0
    ) size
) page
where page.before is null or page.before < $4
order by page.run_id desc;

-- name: where_true
-- A condition that holds for every run; those that follow are put together to the `where` above.
true;

-- name: where_false
-- One that holds for none.
false;

-- name: where_workflow_id
-- A run's workflow id.
found.workflow_id = ?;

-- name: where_workflow_type
-- Its type.
found.workflow_type = ?;

-- name: where_status
-- Its status.
found.status = ?;

-- name: where_task_queue
-- Its task queue.
queue.task_queue = ?;

-- name: where_attribute
-- A value of its record.
exists (
    select from hotmesh.attribute
    where attribute.run_id = found.run_id and attribute.name = ?
        and hotmesh.holds(attribute.value, ?::text::jsonb)
);

-- name: attribute_names
-- Those of some names that the records of a namespace's runs have, or too many of others, and among so
-- many further names those that they have.
with recursive further (name, position) as (
    select ''::text collate "C", 0
    union all
    select (select min(a.name) from hotmesh.attribute a where a.name > further.name), position + 1
    from further where further.name is not null and further.position < $3
)
select name.name from (
    select unnest($2::text[]) collate "C" as name
    union
    select further.name from further where further.name is not null and further.position > 0
) name
where exists (
    select from (
        -- Not "=": for a name that many runs have, the planner would read the table instead.
        select a.run_id from hotmesh.attribute a
        where a.name >= name.name and a.name <= name.name order by a.name limit $4
    ) named
    cross join lateral (
        select from hotmesh.run join hotmesh.queue on queue.id = run.lane / 64
        where run.run_id = named.run_id and queue.namespace = $1 offset 0
    ) ours
) or (
    select count(*) from (select from hotmesh.attribute a where a.name = name.name limit $4) named
) = $4;

-- name: routers
-- The rollcall of a namespace.
select router.router_id, router.namespace, router.queue_id, queue.task_queue,
    (select count(*) from hotmesh.lane where lane.owner = router.router_id),
    router.seen_ms - clock.shift_ms, router.alive, router.info
from hotmesh.router
cross join hotmesh.clock
join hotmesh.queue on queue.id = router.queue_id
where router.namespace = $1
order by router.router_id;

-- name: notify
-- Publish hints.
select pg_notify(hint.channel, hint.payload)
from unnest($1::text[], $2::text[]) hint (channel, payload);

-- name: pending_message
-- Messages that wait, in order: place, then run, message id, lane and its task queue.
select stream.lane, stream.id, stream.run_id, stream.id, stream.lane, coalesce(queue.task_queue, '')
from hotmesh.stream left join hotmesh.queue on queue.id = stream.lane / 64
where (queue.namespace = $1 or queue.id is null)
    and (stream.lane, stream.id) > ($2::int, $3::bigint)
order by stream.lane, stream.id limit $4;

-- name: pending_timer
-- Timers, in order: place, then run, key, lane and its task queue.
select timer.lane, timer.due_ms, timer.run_id, timer.key, timer.run_id, timer.key, timer.lane,
    coalesce(queue.task_queue, '')
from hotmesh.timer left join hotmesh.queue on queue.id = timer.lane / 64
where (queue.namespace = $1 or queue.id is null)
    and (timer.lane, timer.due_ms, timer.run_id, timer.key)
        > ($2::int, $3::bigint, $4::bytea, $5::bigint)
order by timer.lane, timer.due_ms, timer.run_id, timer.key limit $6;

-- name: pending_task
-- Activity tasks, in order: place, then run, seq, lane and its task queue, and where they are claimed.
select task.run_id, task.seq, task.run_id, task.seq, task.lane, coalesce(queue.task_queue, ''),
    task.queue_id, task.activity_type
from hotmesh.task left join hotmesh.queue on queue.id = task.lane / 64
where (queue.namespace = $1 or queue.id is null) and (task.run_id, task.seq) > ($2::bytea, $3::int)
order by task.run_id, task.seq limit $4;

-- name: pending_wait
-- Runs that wait for mail, in order: place, then run, a number, lane and its task queue.
select wait.id, wait.run_id, wait.id, wait.lane, coalesce(queue.task_queue, '')
from hotmesh.wait left join hotmesh.queue on queue.id = wait.lane / 64
where wait.namespace = $1 and wait.id > $2::bigint order by wait.id limit $3;
