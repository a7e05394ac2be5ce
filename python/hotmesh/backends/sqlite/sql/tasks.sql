-- name: finish_task
-- Delete a task if this attempt of it is the claimed one; returns the lane to tell, and whether the
-- task was held.
DELETE FROM task WHERE run_id = ? AND seq = ? AND attempt = ? AND owner IS NOT NULL
    AND EXISTS (SELECT 1 FROM queue WHERE queue.id = task.queue_id AND queue.namespace = ?)
RETURNING lane, held;

-- name: note_ended
-- An activity has ended that its run's journal may not have as a task.
INSERT OR IGNORE INTO ended (run_id, seq) VALUES (?, ?);

-- name: retry_task
-- Give a failed attempt back, to be claimed again later.
UPDATE task SET owner = NULL, due_ms = ?, state = ?
WHERE run_id = ? AND seq = ? AND attempt = ? AND owner IS NOT NULL
    AND EXISTS (SELECT 1 FROM queue WHERE queue.id = task.queue_id AND queue.namespace = ?);

-- name: beat_task
-- Renew a claim; returns whether its cancellation was asked for.
UPDATE task SET
    due_ms = coalesce(?, due_ms),
    state = coalesce(?, state),
    owner = coalesce(?, owner)
WHERE run_id = ? AND seq = ? AND attempt = ? AND owner IS NOT NULL
    AND EXISTS (SELECT 1 FROM queue WHERE queue.id = task.queue_id AND queue.namespace = ?)
RETURNING recalled;

-- name: first_due_of_types
-- When the first task of each of these types becomes claimable; null: there is none.
SELECT value, (
    SELECT due_ms FROM task WHERE queue_id = ? AND activity_type = value ORDER BY due_ms LIMIT 1)
FROM json_each(?);

-- name: first_due_of_all
-- The same for whatever types the tasks of a queue have, found by leaps through the index.
WITH RECURSIVE of (queue_id) AS (VALUES (?)), waiting (activity_type) AS (
    SELECT (SELECT min(t.activity_type) FROM task AS t WHERE t.queue_id = of.queue_id) FROM of
    UNION ALL
    SELECT (SELECT min(t.activity_type) FROM task AS t
            WHERE t.queue_id = of.queue_id AND t.activity_type > waiting.activity_type)
    FROM waiting, of WHERE waiting.activity_type IS NOT NULL
)
SELECT activity_type, (
    SELECT due_ms FROM task
    WHERE task.queue_id = of.queue_id AND task.activity_type = waiting.activity_type
    ORDER BY due_ms LIMIT 1)
FROM waiting, of WHERE activity_type IS NOT NULL;

-- name: claimable
-- Tasks of a queue and type that may be claimed; an owner means that an earlier claim's lease is
-- over.
SELECT run_id, seq, lane, attempt + 1, owner IS NOT NULL, frame, state, scheduled_ms, due_ms
FROM task WHERE queue_id = ? AND activity_type = ? AND due_ms <= ? ORDER BY due_ms LIMIT ?;

-- name: claim_tasks
-- Claim until the end of the lease, as the next attempt.
UPDATE task SET due_ms = column3, owner = column4, attempt = attempt + 1
FROM (VALUES (?, ?, ?, ?)) WHERE run_id = column1 AND seq = column2;

-- name: claimed_attempt
-- The attempt that a task is claimed as; null while nobody has it.
SELECT CASE WHEN owner IS NOT NULL THEN attempt END FROM task WHERE run_id = ? AND seq = ?;

-- name: delete_task
-- A task that was finished from outside; returns whether it was held.
DELETE FROM task WHERE run_id = ? AND seq = ? RETURNING held;

-- name: abandon_tasks
-- Claims of a router that left: as if their lease were over.
UPDATE task SET due_ms = min(due_ms, ?) WHERE owner = ?
    AND EXISTS (SELECT 1 FROM queue WHERE queue.id = task.queue_id AND queue.namespace = ?);
