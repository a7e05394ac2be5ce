-- name: insert_queue
-- A task queue, or a side queue of one, on its first use.
INSERT INTO queue (id, namespace, name, side, home) VALUES (?, ?, ?, ?, ?);

-- name: queues_of_ids
-- The queues with ids from one to another.
SELECT id, namespace, name, side FROM queue WHERE id >= ? AND id < ?;

-- name: delete_queue
-- What is in the way of a queue's row.
DELETE FROM queue WHERE id = ? OR (namespace = ? AND name = ? AND side = ?);

-- name: queue_in_namespace
-- Whether a task queue is one of a namespace.
SELECT 1 FROM queue WHERE id = ? AND namespace = ?;

-- name: queue_id
-- The id of a task queue or side queue.
SELECT id FROM queue WHERE namespace = ? AND name = ? AND side = ?;

-- name: home_of_queue
-- The task queue that a side queue belongs to; null for one that is none.
SELECT home FROM queue WHERE id = ?;

-- name: claim_workflow_ids
-- Take workflow ids that no run holds.
INSERT OR IGNORE INTO current (namespace, workflow_id, run_id)
SELECT * FROM (VALUES (?, ?, ?)) WHERE column1 <> -1;

-- name: take_workflow_id
-- Take a workflow id over from its closed run.
UPDATE current SET run_id = ? WHERE namespace = ? AND workflow_id = ?;

-- name: holder
-- The run that holds a workflow id, and its lane and status.
SELECT c.run_id, r.lane, r.status FROM current AS c JOIN run AS r ON r.run_id = c.run_id
WHERE c.namespace = ? AND c.workflow_id = ?;

-- name: named_run
-- A run of a workflow id, with its lane and status.
SELECT run_id, lane, status FROM run WHERE run_id = ? AND namespace = ? AND workflow_id = ?;

-- name: heard
-- A run of a workflow id that has closed since a time and has a frame in its journal; of all runs of
-- the id, or of the one named.
SELECT run_id, lane, status FROM run AS r
WHERE workflow_id = ? AND namespace = ? AND ? IN (x'', run_id) AND status <> 1 AND closed_ms >= ?
    AND EXISTS (SELECT 1 FROM journal AS j WHERE j.run_id = r.run_id AND instr(j.frame, ?) > 0)
ORDER BY run_id DESC LIMIT 1;

-- name: heard_large
-- Transitions of such runs that lie in pieces, from the newest back.
SELECT r.run_id, r.lane, r.status, j.seq
FROM run AS r JOIN journal AS j ON j.run_id = r.run_id AND j.frame IS NULL
WHERE r.workflow_id = ? AND r.namespace = ? AND ? IN (x'', r.run_id) AND r.status <> 1
    AND r.closed_ms >= ?
ORDER BY r.run_id DESC, j.seq DESC;

-- name: run_status
-- Status and lane of a run.
SELECT status, lane FROM run WHERE run_id = ? AND namespace = ?;

-- name: insert_runs
-- New runs, open.
INSERT INTO run
    (run_id, namespace, workflow_id, workflow_type, lane, expire_s, started_ms, header, input,
     status)
SELECT *, 1 FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)) WHERE column1 <> -1;

-- name: oldest_wait
-- The first run in line for mail of a key.
SELECT id, lane, run_id, frame FROM wait WHERE namespace = ? AND key = ? ORDER BY id LIMIT 1;

-- name: delete_wait
-- A wait that was served.
DELETE FROM wait WHERE id = ?;

-- name: insert_wait
-- A run gets in line for mail of a key.
INSERT INTO wait (namespace, key, lane, run_id, frame) VALUES (?, ?, ?, ?, ?);

-- name: oldest_mail
-- The first mail in line for a key.
SELECT id, data FROM mail WHERE namespace = ? AND key = ? ORDER BY id LIMIT 1;

-- name: delete_mail
-- Mail that was delivered.
DELETE FROM mail WHERE id = ?;

-- name: insert_mail
-- Mail that nobody waits for yet.
INSERT INTO mail (namespace, key, data) VALUES (?, ?, ?);

-- name: results
-- How runs ended, those that did; status 0 for those that don't exist.
SELECT column1, coalesce(status, 0), CASE WHEN status IS NULL THEN x'' ELSE result END
FROM (VALUES (?, ?)) LEFT JOIN run ON run_id = column1 AND namespace = column2
WHERE column1 <> -1 AND status IS NOT 1;

-- name: read_reply
-- An answer that has arrived.
SELECT id, data FROM reply WHERE id = ? AND namespace = ?;

-- name: delete_reply
-- An answer that was received.
DELETE FROM reply WHERE id = ? AND namespace = ?;
