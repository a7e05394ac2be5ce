-- name: finish_task
-- Delete a task if this attempt of it is the claimed one; returns the lane to tell.
DELETE FROM task WHERE run_id = ? AND seq = ? AND attempt = ? AND owner IS NOT NULL
RETURNING lane;

-- name: retry_task
-- Give a failed attempt back, to be claimed again later.
UPDATE task SET owner = NULL, due_ms = ?, state = ?
WHERE run_id = ? AND seq = ? AND attempt = ? AND owner IS NOT NULL;

-- name: beat_task
-- Renew a claim; returns whether its cancellation was asked for.
UPDATE task SET due_ms = ?, state = coalesce(?, state)
WHERE run_id = ? AND seq = ? AND attempt = ? AND owner IS NOT NULL
RETURNING recalled;

-- name: claimable
-- Tasks of a queue that may be claimed; an owner means that an earlier claim's lease is over.
SELECT run_id, seq, lane, attempt + 1, owner IS NOT NULL, frame, state, scheduled_ms
FROM task WHERE queue_id = ? AND due_ms <= ? ORDER BY due_ms LIMIT ?;

-- name: claim_tasks
-- Claim until the end of the lease, as the next attempt.
UPDATE task SET due_ms = column3, owner = column4, attempt = attempt + 1
FROM (VALUES (?, ?, ?, ?)) WHERE run_id = column1 AND seq = column2;

-- name: next_due
-- When the queue's next task becomes claimable.
SELECT due_ms FROM task WHERE queue_id = ? ORDER BY due_ms LIMIT 1;

-- name: claimed_attempt
-- The attempt that a task is claimed as; null while nobody has it.
SELECT CASE WHEN owner IS NOT NULL THEN attempt END FROM task WHERE run_id = ? AND seq = ?;

-- name: delete_task
-- A task that was finished from outside.
DELETE FROM task WHERE run_id = ? AND seq = ?;

-- name: abandon_tasks
-- Claims of a router that left: as if their lease were over.
UPDATE task SET due_ms = min(due_ms, ?) WHERE owner = ?;
