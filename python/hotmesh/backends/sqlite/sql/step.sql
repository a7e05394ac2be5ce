-- name: router_alive
-- The fence: a row says that the router was not declared dead; its queue, and its side queues.
SELECT r.queue_id, (SELECT json_group_array(q.id) FROM queue AS q WHERE q.home = r.queue_id)
FROM router AS r WHERE r.router_id = ? AND r.state = 1 AND r.namespace = ?;

-- name: stale
-- Runs that lack what precedes a transition: another one, or the open run itself. (Where a run has
-- been closed, or is gone, its journal is longer, or gone with it.)
SELECT column1 FROM (VALUES (?, ?, ?))
WHERE CASE column2
    WHEN 0 THEN NOT EXISTS (
        SELECT 1 FROM run AS r
        WHERE r.run_id = column1 AND r.status = 1 AND (r.lane / 64 = column3 OR EXISTS (
            SELECT 1 FROM queue AS q WHERE q.id = r.lane / 64 AND q.home = column3)))
    ELSE column1 <> -1 AND NOT EXISTS (
        SELECT 1 FROM journal AS j WHERE j.run_id = column1 AND j.seq = column2 - 1)
END;

-- name: journaled
-- Runs that have these transitions already.
SELECT column1 FROM (VALUES (?, ?))
WHERE EXISTS (SELECT 1 FROM journal AS j WHERE j.run_id = column1 AND j.seq = column2);

-- name: existing
-- Which of these runs there are, in which lanes, and whether they are open.
SELECT r.run_id, r.lane, r.status FROM (VALUES (?)) JOIN run AS r ON r.run_id = column1;

-- name: insert_journal
-- Transitions; one whose seq is taken violates the key: its run is stale.
INSERT INTO journal (run_id, seq, frame)
SELECT * FROM (VALUES (?, ?, ?)) WHERE column1 <> -1;

-- name: delete_messages
-- Handled messages. (A bare VALUES here would have the whole table scanned.)
DELETE FROM stream WHERE (lane, id) IN (SELECT column1, column2 FROM (VALUES (?, ?)));

-- name: any_event
-- Whether any run at all has an unread EVENT message.
SELECT 1 FROM stream WHERE kind = 1 LIMIT 1;

-- name: unread_event
-- Whether a run has an unread EVENT message, which holds it open.
SELECT 1 FROM stream WHERE run_id = ? AND kind = 1 LIMIT 1;

-- name: insert_timers
-- Timers; the same one twice is one.
INSERT OR IGNORE INTO timer (lane, due_ms, run_id, key)
SELECT * FROM (VALUES (?, ?, ?, ?)) WHERE column1 <> -1;

-- name: delete_timer
-- A timer that fired or is not wanted any more.
DELETE FROM timer WHERE lane = ? AND due_ms = ? AND run_id = ? AND key = ?;

-- name: post_timer
-- A timer in a lane that somebody else reads.
INSERT OR IGNORE INTO timer (lane, due_ms, run_id, key, posted) VALUES (?, ?, ?, ?, 1);

-- name: move_run
-- An open run to another lane, if it is where it is said to be and the lane nobody else's.
UPDATE run SET lane = ? WHERE run_id = ? AND lane = ? AND status = 1
    AND NOT EXISTS (SELECT 1 FROM lane WHERE lane.lane = run.lane AND owner <> ?);

-- name: unread_events
-- The EVENT messages of a run in a lane.
SELECT lane, id, frame FROM stream WHERE run_id = ? AND kind = 1 AND lane = ? ORDER BY id;

-- name: note_moved
-- An open run is in a side queue now.
INSERT OR REPLACE INTO moved (run_id, queue_id) VALUES (?, ?);

-- name: forget_moved
-- A run is in no side queue any more.
DELETE FROM moved WHERE run_id = ?;

-- name: bring_home
-- A closed run is in its task queue's own lane.
UPDATE run SET lane = (
    SELECT coalesce(q.home, q.id) * 64 + run.lane % 64 FROM queue AS q WHERE q.id = run.lane / 64)
WHERE run_id = ?;

-- name: any_moved
-- Whether any open run at all is in a side queue.
SELECT 1 FROM moved LIMIT 1;

-- name: use_side_queue
-- A side queue was moved to.
UPDATE queue SET used_ms = ? WHERE id = ? AND home IS NOT NULL;

-- name: insert_tasks
-- Activity tasks, unclaimed; one that is there stays as it is.
INSERT INTO task
    (queue_id, activity_type, lane, run_id, seq, attempt, due_ms, scheduled_ms, frame, state)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) WHERE column1 <> -1
ON CONFLICT (run_id, seq) DO NOTHING;

-- name: drop_ended_task
-- The task just made of an activity that ended before.
DELETE FROM task WHERE (run_id, seq) IN (
    SELECT e.run_id, e.seq FROM ended AS e WHERE e.run_id = ? AND e.seq = ?);

-- name: settle_held
-- The journal has it as a task now.
UPDATE task SET held = 0 WHERE run_id = ? AND seq = ?;

-- name: forget_ended
-- The journal has it as a task now.
DELETE FROM ended WHERE run_id = ? AND seq = ?;

-- name: outside_task
-- The first attempt of a task is under way: a client completes it.
UPDATE task SET owner = ?
WHERE run_id = ? AND seq = ? AND owner IS NULL AND attempt = 1 AND ? IN (
    lane / 64, (SELECT q.home FROM queue AS q WHERE q.id = lane / 64));

-- name: delete_tasks
-- Tasks whose results are no longer wanted.
DELETE FROM task WHERE (run_id, seq) IN (
    SELECT t.run_id, t.seq FROM (VALUES (?, ?, ?))
    CROSS JOIN task AS t ON t.run_id = column1 AND t.seq = column2
        AND (t.lane / 64 = column3 OR EXISTS (
            SELECT 1 FROM queue AS q WHERE q.id = t.lane / 64 AND q.home = column3)));

-- name: recall_unclaimed_task
-- Take back a task that nobody works on; returns the lane to tell.
DELETE FROM task WHERE run_id = ? AND seq = ? AND owner IS NULL AND ? IN (
    lane / 64, (SELECT q.home FROM queue AS q WHERE q.id = lane / 64))
RETURNING lane;

-- name: recall_claimed_task
-- Ask the worker of a claimed task to stop; its next beat says so.
UPDATE task SET recalled = 1
WHERE run_id = ? AND seq = ? AND owner IS NOT NULL AND ? IN (
    lane / 64, (SELECT q.home FROM queue AS q WHERE q.id = lane / 64));

-- name: put_attribute
-- A value of the run's record.
INSERT INTO attribute (run_id, name, value)
SELECT run_id, ?, json(?) FROM run WHERE run_id = ? AND namespace = ?
ON CONFLICT (run_id, name) DO UPDATE SET value = excluded.value;

-- name: delete_attribute
-- A name taken out of the run's record.
DELETE FROM attribute
WHERE name = ? AND run_id = (SELECT run_id FROM run WHERE run_id = ? AND namespace = ?);

-- name: close_runs
-- The ends of runs, and when they may be deleted: never, where it is damaged how long they are kept.
UPDATE run SET
    status = column2,
    closed_ms = column3,
    result = column5,
    expires_ms = CASE
        WHEN expire_s >= 0 AND typeof(expire_s) = 'integer' THEN column3 + expire_s * 1000
    END
FROM (VALUES (?, ?, ?, ?, ?))
WHERE run_id = column1 AND run.status = 1 AND (run.lane / 64 = column4 OR EXISTS (
    SELECT 1 FROM queue AS q WHERE q.id = run.lane / 64 AND q.home = column4));

-- name: delete_waits
-- What a closed run waited for.
DELETE FROM wait WHERE run_id = ? AND ? IN (
    lane / 64, (SELECT q.home FROM queue AS q WHERE q.id = lane / 64));

-- name: insert_reply
-- An answer; the first of an id counts.
INSERT OR IGNORE INTO reply (id, namespace, data, made_ms) VALUES (?, ?, ?, ?);

-- name: read_messages
-- Unread messages of lanes, given as {lane: last id read}, lane by lane, oldest first. A large one
-- (see SMALL_BYTES_MAX in limits.py) has its size in the place of its frame: what is large is not read
-- to know that. An input that lies in pieces is a null.
SELECT
    s.id, s.lane, s.run_id,
    CASE WHEN length(s.frame)
        + CASE WHEN r.run_id IS NULL THEN 0 ELSE length(r.header) + length(r.input) END < 262144
    THEN s.frame
    ELSE ifnull(length(s.frame), 0) + ifnull(length(r.header), 0) + ifnull(length(r.input), (
        SELECT ifnull(sum(length(p.data)), 0) FROM piece AS p
        WHERE p.run_id = r.run_id AND p.part = -1))
    END,
    r.workflow_id, r.workflow_type, r.header, CASE WHEN length(r.input) < 262144 THEN r.input END,
    CASE WHEN s.kind = 0
        THEN r.run_id IS NULL OR EXISTS (SELECT 1 FROM journal AS j WHERE j.run_id = s.run_id)
    END
FROM json_each(?) AS l
CROSS JOIN stream AS s ON s.lane = CAST(l.key AS INTEGER) AND s.id > l.value
LEFT JOIN run AS r ON s.kind = 0 AND r.run_id = s.run_id AND r.lane = s.lane
LIMIT ?;

-- name: read_message
-- A message, whatever its size; as read_messages.
SELECT
    s.id, s.lane, s.run_id, s.frame, r.workflow_id, r.workflow_type, r.header, r.input,
    CASE WHEN s.kind = 0
        THEN r.run_id IS NULL OR EXISTS (SELECT 1 FROM journal AS j WHERE j.run_id = s.run_id)
    END
FROM stream AS s
LEFT JOIN run AS r ON s.kind = 0 AND r.run_id = s.run_id AND r.lane = s.lane
WHERE s.lane = ? AND s.id = ?;

-- name: read_timers
-- Timers of a lane that are due after one time and up to another.
SELECT lane, due_ms, run_id, key FROM timer
WHERE lane = ? AND due_ms > ? AND due_ms <= ?
ORDER BY due_ms LIMIT ?;

-- name: read_timers_at
-- All timers of a lane that are due at one millisecond.
SELECT lane, due_ms, run_id, key FROM timer WHERE lane = ? AND due_ms = ?;

-- name: read_posted_timers
-- Timers of a lane due up to a time that others than its owner inserted.
SELECT lane, due_ms, run_id, key FROM timer WHERE lane = ? AND due_ms <= ? AND posted = 1;

-- name: load_run
-- A run, to be replayed, and how many bytes its journal has.
SELECT
    run_id, lane, status, workflow_id, workflow_type, header, input,
    coalesce(
        (SELECT json_group_object(name, 
            CASE WHEN json_valid(value) THEN json(value)
            ELSE json_object('hotmesh.damaged', hex(value)) END) FROM attribute AS a
         WHERE a.run_id = run.run_id), '{}'),
    (SELECT coalesce(sum(length(frame)), 0) FROM journal AS j WHERE j.run_id = run.run_id)
        + (SELECT coalesce(sum(length(data)), 0) FROM piece AS p WHERE p.run_id = run.run_id)
FROM run WHERE run_id = ? AND namespace = ?;

-- name: read_journal
-- The transitions of a run, in order.
SELECT frame, seq FROM journal WHERE run_id = ? ORDER BY seq;
