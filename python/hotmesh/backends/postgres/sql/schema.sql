-- The schema of a HotMesh database, version 1: what a fresh database gets.
--
-- `hotmesh.` stands for whichever schema the URL names. Times are milliseconds of the store's time
-- (see `clock`), but for `started_ms`, `closed_ms` and `expiry`: the wall clock's; lanes are queue id * 64 + crc32(workflow id) % 64, run ids are UUIDv7 in 16 bytes (so
-- their order is that of time). Columns are never null unless null means something, because a
-- null bitmap that changes makes an update write the whole row to the log.

-- The version of this schema; one row.
create table hotmesh.meta (
    version int not null
);

-- One row: by how much this store's time is ahead of the wall clock, which may jump.
create table hotmesh.clock (
    shift_ms bigint not null
);
insert into hotmesh.clock (shift_ms) values (0);

-- A task queue of a namespace. `id`, the upper part of its lanes' numbers, follows from its name. Where
-- `side` names a workflow type it is a side queue of the task queue `home`, last moved to at `used_ms`.
create table hotmesh.queue (
    id int not null primary key,
    home int,
    used_ms bigint not null default 0,
    namespace text collate "C" not null,
    task_queue text collate "C" not null,
    side text collate "C" not null default '',
    unique (namespace, task_queue, side)
);

create index queue_home on hotmesh.queue (home) where home is not null;

-- The open runs in side queues.
create table hotmesh.moved (
    queue_id int not null,
    run_id bytea not null primary key
);

create index moved_queue on hotmesh.moved (queue_id);

-- One execution of a workflow. Static columns first, those that closing changes last: closing is
-- then a heap-only update (no index holds a changing column) that logs only the row's end. The
-- fill factor leaves room for it even when a batch closes every row of a page at once. `previous`
-- is the run that had the workflow id before, empty for none.
create table hotmesh.run (
    started_ms bigint not null,
    lane int not null,
    expire_s int not null,
    run_id bytea not null primary key,
    workflow_id text collate "C" not null,
    workflow_type text collate "C" not null,
    header bytea not null,
    input bytea not null,
    previous bytea not null default '',
    status smallint not null default 1,
    closed_ms bigint not null default 0,
    result bytea not null default ''
) with (
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);

-- The newest run of each workflow id; the primary key is what makes it one.
create table hotmesh.current (
    run_id bytea not null,
    namespace text collate "C" not null,
    workflow_id text collate "C" not null,
    primary key (namespace, workflow_id)
);

-- When a closed run may be deleted. Apart from `run`, whose closing update stays heap-only so.
create table hotmesh.expiry (
    due_ms bigint not null,
    run_id bytea not null,
    primary key (due_ms, run_id)
);

-- Searchable record of a run: names and JSON texts.
create table hotmesh.attribute (
    run_id bytea not null,
    name text collate "C" not null,
    value bytea not null,
    primary key (run_id, name)
);
create index attribute_name on hotmesh.attribute (name);

-- What happened, append-only: one row for each commit of a run. The primary key is the second
-- fence: two owners can't both write the same transition.
create table hotmesh.journal (
    seq int not null,
    run_id bytea not null,
    frame bytea not null,
    primary key (run_id, seq)
) with (
    autovacuum_vacuum_insert_scale_factor = 1,
    autovacuum_analyze_scale_factor = 1
);

-- Large values on their way, in pieces: of one call, of one of its arguments, of one item of that. The
-- call takes them; those of one that never came are deleted some day.
create unlogged table hotmesh.piece (
    call bytea not null,
    place int not null,
    item int not null,
    number int not null,
    put_ms bigint not null,
    data bytea not null,
    primary key (call, place, item, number)
);
alter table hotmesh.piece alter column data set storage external;

-- Messages that wait to be handled; deleted by the step that handled them.
create table hotmesh.stream (
    id bigint not null generated always as identity,
    lane int not null,
    kind smallint not null,
    run_id bytea not null,
    frame bytea not null,
    primary key (lane, id)
) with (
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_scale_factor = 0.2,
    autovacuum_vacuum_cost_delay = 0
);

-- Finds the unread events (kind 1) that keep a run from closing.
create index stream_event on hotmesh.stream (run_id) where kind = 1;

-- Timers. `xid` is the transaction that made the row: a reader that remembers the oldest
-- transaction running at its last scan finds by it what became visible since.
create table hotmesh.timer (
    due_ms bigint not null,
    xid xid8 not null default pg_current_xact_id(),
    key bigint not null,
    lane int not null,
    run_id bytea not null,
    primary key (lane, due_ms, run_id, key)
) with (
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_scale_factor = 0.2,
    autovacuum_vacuum_cost_delay = 0
);

-- Activity tasks. Claimable when due; a claim moves `due_ms` to the end of its lease and sets
-- `owner`, so a row that is due and still has an owner was lost by it. `held`: by a router that stood
-- down; the run's journal does not have it as a task yet.
create table hotmesh.task (
    due_ms bigint not null,
    scheduled_ms bigint not null,
    queue_id int not null,
    lane int not null,
    seq int not null,
    attempt int not null,
    recalled boolean not null default false,
    held boolean not null default false,
    owner bytea,
    run_id bytea not null,
    activity_type text collate "C" not null,
    frame bytea not null,
    state bytea not null,
    primary key (run_id, seq)
) with (
    fillfactor = 70,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0
);

-- Claims ask for the types that a worker hosts: what nobody hosts is in nobody's way.
create index task_due on hotmesh.task (queue_id, activity_type, due_ms);

-- Activities that have ended before their run's journal has them as tasks: there is to be no other task
-- of one. Gone once the journal says so.
create table hotmesh.ended (
    seq int not null,
    run_id bytea not null,
    primary key (run_id, seq)
) with (autovacuum_vacuum_cost_delay = 0);

-- Mail that nobody has waited for yet, and runs that wait for mail; a key is in one of the two.
create table hotmesh.mail (
    id bigint generated always as identity primary key,
    namespace text collate "C" not null,
    key text collate "C" not null,
    data bytea not null
);

create index mail_key on hotmesh.mail (namespace, key, id);

create table hotmesh.wait (
    id bigint generated always as identity primary key,
    lane int not null,
    run_id bytea not null,
    namespace text collate "C" not null,
    key text collate "C" not null,
    frame bytea not null
);

create index wait_key on hotmesh.wait (namespace, key, id);
create index wait_run on hotmesh.wait (run_id);

-- Answers to queries and updates until the client that asked takes them.
create table hotmesh.reply (
    created_ms bigint not null,
    reply_id bytea not null,
    namespace text collate "C" not null,
    data bytea not null,
    primary key (reply_id, namespace)
) with (autovacuum_vacuum_cost_delay = 0);

create index reply_created on hotmesh.reply (created_ms);

-- The rollcall: one row for each router. `alive` is the fence; `lock_key` is the advisory lock
-- that its steps share and that whoever declares it dead takes alone. `beats` counts them: fewer
-- than the router knows of say that the database went back. `workflow_types` null: any.
create table hotmesh.router (
    lock_key bigint not null,
    seen_ms bigint not null,
    lease_until_ms bigint not null,
    queue_id int not null,
    beats int not null default 0,
    hosts_workflows boolean not null,
    workflow_types text[],
    alive boolean not null default true,
    router_id bytea not null primary key,
    namespace text collate "C" not null,
    info bytea not null
) with (fillfactor = 50);

-- Who owns a lane; null: nobody.
create table hotmesh.lane (
    lane int not null primary key,
    owner bytea
) with (fillfactor = 50);

create index lane_owner on hotmesh.lane (owner);
