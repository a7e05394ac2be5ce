-- name: newest_run_id
-- The run that holds a workflow id.
SELECT run_id FROM current WHERE namespace = ? AND workflow_id = ?;

-- name: find_run
-- All that is known of a run, with the number of its transitions.
SELECT v.*, (SELECT count(*) FROM journal AS j WHERE j.run_id = v.run_id)
FROM run_row AS v WHERE v.run_id = ? AND v.namespace = ? AND v.workflow_id = ?;

-- name: task_of
-- An activity task of a run.
SELECT t.seq, t.attempt, t.due_ms, coalesce(t.owner, x''), t.frame, t.state, t.scheduled_ms, t.recalled
FROM task AS t JOIN queue AS q ON q.id = t.queue_id AND q.namespace = ?
WHERE t.run_id = ? AND t.seq = ?;

-- name: tasks_of_run
-- The most tried activity tasks of a run, with how many there are.
SELECT
    t.seq, t.attempt, t.due_ms, coalesce(t.owner, x''), t.frame, t.state, t.scheduled_ms, t.recalled,
    count(*) OVER ()
FROM task AS t JOIN queue AS q ON q.id = t.queue_id AND q.namespace = ?
WHERE t.run_id = ? ORDER BY t.attempt DESC, t.seq LIMIT ?;

-- name: list_runs
-- Runs of a namespace that a condition holds for, newest first, without input and result.
SELECT
    v.run_id, v.namespace, v.workflow_id, v.workflow_type, v.lane, v.task_queue, v.status, v.header,
    x'', x'', v.attributes, v.started_ms, v.closed_ms, 0
FROM run_row AS v
WHERE v.namespace = ? AND v.run_id < ? AND {where}
ORDER BY v.run_id DESC LIMIT ?;

-- name: where_true
-- A condition that holds for every run; those that follow are put together to the `where` above.
TRUE;

-- name: where_workflow_id
-- A run's workflow id.
v.workflow_id = ?;

-- name: where_workflow_type
-- Its type.
v.workflow_type = ?;

-- name: where_task_queue
-- Its task queue.
v.task_queue = ?;

-- name: where_running
-- Whether it is open.
v.status = 1;

-- name: where_status
-- Its status.
v.status = ?;

-- name: where_text
-- A text in its record, by itself or in a list. Texts with NULs equal nothing: SQLite ends them there.
EXISTS (
    SELECT 1 FROM attribute AS a, json_each(CASE WHEN json_valid(a.value) THEN a.value END) AS e
    WHERE a.run_id = v.run_id AND a.name = ? AND a.value NOT LIKE '{%'
        AND a.value NOT LIKE '%\u0000%' AND e.type = 'text' AND e.value = ?);

-- name: where_number
-- A number in its record, by itself or in a list.
EXISTS (
    SELECT 1 FROM attribute AS a, json_each(CASE WHEN json_valid(a.value) THEN a.value END) AS e
    WHERE a.run_id = v.run_id AND a.name = ? AND a.value NOT LIKE '{%'
        AND e.type IN ('integer', 'real') AND e.value = ?);

-- name: where_constant
-- true, false or null in its record, by itself or in a list.
EXISTS (
    SELECT 1 FROM attribute AS a, json_each(CASE WHEN json_valid(a.value) THEN a.value END) AS e
    WHERE a.run_id = v.run_id AND a.name = ? AND a.value NOT LIKE '{%' AND e.type = ?);

-- name: where_document
-- A whole list or object in its record.
EXISTS (
    SELECT 1 FROM attribute AS a
    WHERE a.run_id = v.run_id AND a.name = ?
        AND json(CASE WHEN json_valid(a.value) THEN a.value END) = json(?));

-- name: has_attribute_name
-- Whether a run of a namespace has an attribute of a name; also if too many others have it.
WITH named AS MATERIALIZED (SELECT run_id FROM attribute WHERE name = ? LIMIT ?)
SELECT EXISTS (
    SELECT 1 FROM named AS a CROSS JOIN run AS r ON r.run_id = a.run_id WHERE r.namespace = ?
) OR (SELECT count(*) FROM named) = ?;

-- name: following_attribute_name
-- The next name in any record, in order.
SELECT min(name) FROM attribute WHERE name > ?;

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

-- name: delete_pieces
-- What of a pruned run was large.
DELETE FROM piece WHERE run_id = ?;

-- name: delete_attributes
-- A pruned run's record.
DELETE FROM attribute WHERE run_id = ?;

-- name: delete_tasks
-- What a pruned run left in the task queues.
DELETE FROM task WHERE run_id = ?;

-- name: delete_ended
-- Notes of a run's activities that ended early.
DELETE FROM ended WHERE run_id = ?;

-- name: delete_current
-- A pruned run's workflow id, unless a newer run holds it.
DELETE FROM current WHERE namespace = ? AND workflow_id = ? AND run_id = ?;

-- name: delete_run
-- A pruned run.
DELETE FROM run WHERE run_id = ?;
