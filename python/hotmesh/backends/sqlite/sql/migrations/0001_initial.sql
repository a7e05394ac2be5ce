-- Schema version 1. A statement ends at a line that ends with a semicolon.

-- One row: the last message id given out, how often timers were put into lanes that others read, and
-- by how much the store's time is ahead of the wall clock, which may jump.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    message_id INTEGER NOT NULL,
    posted_timers INTEGER NOT NULL,
    clock_shift_ms INTEGER NOT NULL
);
INSERT INTO state (id, message_id, posted_timers, clock_shift_ms) VALUES (1, 0, 0, 0);

-- A task queue of a namespace; its id, part of every lane number, follows from its name. Where side
-- names a workflow type it is a side queue of the task queue home, last moved to at used_ms.
CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    side TEXT NOT NULL DEFAULT '',
    home INTEGER,
    used_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (namespace, name, side)
);
CREATE INDEX queue_home ON queue (home) WHERE home IS NOT NULL;

-- The open runs in side queues.
CREATE TABLE moved (
    run_id BLOB PRIMARY KEY,
    queue_id INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX moved_queue ON moved (queue_id);

-- One execution of a workflow. Run ids begin with their time, so rows are appended. A large input or
-- result is null here and lies in pieces.
CREATE TABLE run (
    run_id BLOB PRIMARY KEY,
    namespace TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    workflow_type TEXT NOT NULL,
    lane INTEGER NOT NULL,
    status INTEGER NOT NULL,
    expire_s INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    closed_ms INTEGER NOT NULL DEFAULT 0,
    expires_ms INTEGER,
    header BLOB NOT NULL,
    input BLOB,
    result BLOB DEFAULT x''
) WITHOUT ROWID;
CREATE INDEX run_workflow ON run (workflow_id);
CREATE INDEX run_open ON run (namespace) WHERE status = 1;
CREATE INDEX run_expiry ON run (expires_ms) WHERE expires_ms IS NOT NULL;

-- The newest run of each workflow id: the row that concurrent starts compete for.
CREATE TABLE current (
    namespace TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    run_id BLOB NOT NULL,
    PRIMARY KEY (namespace, workflow_id)
) WITHOUT ROWID;

-- What happened in a run, one row per transition; its key is the second fence. A large frame is null
-- here and lies in pieces. Rows are appended, and only the index has those of a run together: what a
-- step writes for hundreds of runs changes half as many pages, each of which a commit writes whole.
CREATE TABLE journal (
    run_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    frame BLOB,
    UNIQUE (run_id, seq)
);

-- Large values in pieces, in order. part: -1 is the run's input, -2 its result, else it is the frame of
-- that seq in its journal.
CREATE TABLE piece (
    run_id BLOB NOT NULL,
    part INTEGER NOT NULL,
    number INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (run_id, part, number)
) WITHOUT ROWID;

-- The record of a run: enriched and search attributes, memo. Values are JSON text.
CREATE TABLE attribute (
    run_id BLOB NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_id, name)
) WITHOUT ROWID;
CREATE INDEX attribute_name ON attribute (name);

-- A run as it is listed: with its task queue's name and its record as one JSON object.
CREATE VIEW run_row AS
SELECT
    r.run_id, r.namespace, r.workflow_id, r.workflow_type, r.lane, q.name AS task_queue,
    r.status, r.header, r.input, r.result,
    coalesce(
        (SELECT json_group_object(a.name,
            CASE WHEN json_valid(a.value) THEN json(a.value)
            ELSE json_object('hotmesh.damaged', hex(a.value)) END) FROM attribute AS a
         WHERE a.run_id = r.run_id), '{}') AS attributes,
    r.started_ms, r.closed_ms
FROM run AS r LEFT JOIN queue AS q ON q.id = r.lane / 64;

-- Messages that wait to be handled; deleted by the step that handles them.
CREATE TABLE stream (
    lane INTEGER NOT NULL,
    id INTEGER NOT NULL,
    run_id BLOB NOT NULL,
    kind INTEGER NOT NULL,
    frame BLOB NOT NULL,
    PRIMARY KEY (lane, id)
) WITHOUT ROWID;
CREATE INDEX stream_event ON stream (run_id) WHERE kind = 1;

-- Messages that become due. posted: by another than the lane's owner, who has to look for it.
CREATE TABLE timer (
    lane INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    run_id BLOB NOT NULL,
    key INTEGER NOT NULL,
    posted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (lane, due_ms, run_id, key)
) WITHOUT ROWID;

-- Activity tasks; due_ms is when a task may be claimed (for a claimed one: its lease's end). held: by
-- a router that stood down; the run's journal does not have it as a task yet.
CREATE TABLE task (
    run_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    queue_id INTEGER NOT NULL,
    activity_type TEXT NOT NULL,
    lane INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    scheduled_ms INTEGER NOT NULL,
    owner BLOB,
    recalled INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0,
    state BLOB NOT NULL,
    frame BLOB NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
-- Claims ask for the types that a worker hosts: what nobody hosts is in nobody's way.
CREATE INDEX task_due ON task (queue_id, activity_type, due_ms);

-- Activities that have ended before their run's journal has them as tasks: there is to be no other task
-- of one. Gone once the journal says so.
CREATE TABLE ended (
    run_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;

-- Runs that wait for mail, and mail that nobody waited for yet; both first in, first out.
CREATE TABLE wait (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    lane INTEGER NOT NULL,
    run_id BLOB NOT NULL,
    frame BLOB NOT NULL
);
CREATE INDEX wait_key ON wait (namespace, key);
CREATE INDEX wait_run ON wait (run_id);
CREATE TABLE mail (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX mail_key ON mail (namespace, key);

-- Answers to queries and updates, until the client takes them.
CREATE TABLE reply (
    id BLOB NOT NULL,
    namespace TEXT NOT NULL,
    data BLOB NOT NULL,
    made_ms INTEGER NOT NULL,
    PRIMARY KEY (id, namespace)
) WITHOUT ROWID;
CREATE INDEX reply_made ON reply (made_ms);

-- Ids of closed runs and of replies, 16 bytes each, a row a step: whom other processes are to wake.
-- Ids have no gaps; only the newest rows are kept.
CREATE TABLE done (
    id INTEGER PRIMARY KEY,
    keys BLOB NOT NULL
);

-- The rollcall. state: 1 alive, 0 declared dead, 2 left. Fewer beats than the router knows of say
-- that the database went back. workflow_types: JSON, null for any.
CREATE TABLE router (
    router_id BLOB PRIMARY KEY,
    namespace TEXT NOT NULL,
    queue_id INTEGER NOT NULL,
    hosts_workflows INTEGER NOT NULL,
    workflow_types TEXT,
    state INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL,
    beats INTEGER NOT NULL,
    info BLOB NOT NULL
) WITHOUT ROWID;

-- Owned lanes; a free lane has no row.
CREATE TABLE lane (
    lane INTEGER PRIMARY KEY,
    owner BLOB NOT NULL
);
CREATE INDEX lane_owner ON lane (owner);
