-- name: newest_run_id
-- The run that holds a workflow id.
SELECT run_id FROM current WHERE namespace = ? AND workflow_id = ?;

-- name: find_run
-- All that is known of a run, with the number of its transitions.
SELECT v.*, (SELECT count(*) FROM journal AS j WHERE j.run_id = v.run_id)
FROM run_row AS v WHERE v.run_id = ? AND v.namespace = ? AND v.workflow_id = ?;

-- name: task_of
-- An activity task of a run.
SELECT t.seq, t.attempt, t.due_ms, coalesce(t.owner, x''), t.frame, t.state
FROM task AS t JOIN queue AS q ON q.id = t.queue_id AND q.namespace = ?
WHERE t.run_id = ? AND t.seq = ?;

-- name: list_runs
-- Runs of a namespace, newest first, of a type and status if those are given.
SELECT v.*, 0 FROM run_row AS v
WHERE v.namespace = :namespace AND v.run_id < :before
    AND (:workflow_type = '' OR v.workflow_type = :workflow_type)
    AND (:status = 0 OR v.status = :status)
    AND NOT EXISTS (
        SELECT 1 FROM json_each(:attributes) AS f
        WHERE NOT EXISTS (
            SELECT 1 FROM attribute AS a
            WHERE a.run_id = v.run_id AND a.name = f.key AND a.value = json(f.value)))
ORDER BY v.run_id DESC LIMIT :limit;

-- name: list_open_runs
-- The same for open runs, found by their index: there may be few among many closed ones.
SELECT v.*, 0 FROM run_row AS v
WHERE v.namespace = :namespace AND v.status = 1 AND v.run_id < :before
    AND (:workflow_type = '' OR v.workflow_type = :workflow_type)
    AND NOT EXISTS (
        SELECT 1 FROM json_each(:attributes) AS f
        WHERE NOT EXISTS (
            SELECT 1 FROM attribute AS a
            WHERE a.run_id = v.run_id AND a.name = f.key AND a.value = json(f.value)))
ORDER BY v.run_id DESC LIMIT :limit;

-- name: list_runs_of_id
-- The same for the runs of one workflow id, found by their index.
SELECT v.*, 0 FROM run_row AS v
WHERE v.workflow_id = :workflow_id AND v.namespace = :namespace AND v.run_id < :before
    AND (:workflow_type = '' OR v.workflow_type = :workflow_type)
    AND (:status = 0 OR v.status = :status)
    AND NOT EXISTS (
        SELECT 1 FROM json_each(:attributes) AS f
        WHERE NOT EXISTS (
            SELECT 1 FROM attribute AS a
            WHERE a.run_id = v.run_id AND a.name = f.key AND a.value = json(f.value)))
ORDER BY v.run_id DESC LIMIT :limit;

-- name: closed_until
-- Closed runs of a namespace that are old enough to be pruned.
SELECT run_id, namespace, workflow_id, lane FROM run
WHERE namespace = ? AND status <> 1 AND closed_ms <= ? LIMIT ?;

-- name: expired
-- Closed runs whose time to be kept is over.
SELECT run_id, namespace, workflow_id, lane FROM run
WHERE expires_ms IS NOT NULL AND expires_ms <= ? ORDER BY expires_ms LIMIT ?;

-- name: delete_journal
-- A pruned run's journal.
DELETE FROM journal WHERE run_id = ?;

-- name: delete_attributes
-- A pruned run's record.
DELETE FROM attribute WHERE run_id = ?;

-- name: delete_tasks
-- What a pruned run left in the task queues.
DELETE FROM task WHERE run_id = ?;

-- name: delete_current
-- A pruned run's workflow id, unless a newer run holds it.
DELETE FROM current WHERE namespace = ? AND workflow_id = ? AND run_id = ?;

-- name: delete_run
-- A pruned run.
DELETE FROM run WHERE run_id = ?;
