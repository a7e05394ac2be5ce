-- name: declare_dead
-- Routers that have been silent for longer than their lease, but the one that asks; one whose lease
-- ends later than any can is damaged.
UPDATE router SET state = 0, lease_until_ms = column1
FROM (VALUES (?, ?, ?))
WHERE state = 1 AND router_id <> column2
    AND (lease_until_ms NOT BETWEEN column1 AND column3 OR typeof(lease_until_ms) <> 'integer')
RETURNING router_id;

-- name: take_jump_out
-- What routers were given of a jump of the clock.
UPDATE router SET seen_ms = seen_ms - column1, lease_until_ms = lease_until_ms - column1
FROM (VALUES (?, ?))
WHERE state <> 2 AND seen_ms > column2;

-- name: latest_seen
-- When a router was last seen that has not left: one that is dead may have claims still. None is seen
-- after its lease has ended (but for a small correction of the clock): such a row is damaged.
SELECT max(seen_ms) FROM router
WHERE state <> 2 AND typeof(seen_ms) = 'integer' AND typeof(lease_until_ms) = 'integer'
    AND seen_ms <= lease_until_ms + ? AND lease_until_ms <= seen_ms + ?;

-- name: free_lanes
-- All lanes of a router.
DELETE FROM lane WHERE owner = ?;

-- name: leave_lanes
-- All lanes of a router in a namespace.
DELETE FROM lane WHERE owner = ?
    AND EXISTS (SELECT 1 FROM queue WHERE queue.id = lane.lane / 64 AND queue.namespace = ?);

-- name: router_state
-- Whether a router is alive, dead or gone, and where, and its beats (0 if they are damaged).
SELECT state, namespace, iif(typeof(beats) = 'integer', beats, 0) FROM router WHERE router_id = ?;

-- name: put_router
-- Join or renew.
INSERT INTO router
    (router_id, namespace, queue_id, hosts_workflows, workflow_types, state, seen_ms,
     lease_until_ms, beats, info)
VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?)
ON CONFLICT (router_id) DO UPDATE SET
    queue_id = excluded.queue_id, hosts_workflows = excluded.hosts_workflows,
    workflow_types = excluded.workflow_types, seen_ms = excluded.seen_ms,
    lease_until_ms = excluded.lease_until_ms, beats = max(iif(typeof(beats) = 'integer', beats, 0), excluded.beats),
    info = excluded.info;

-- name: count_routers
-- Live routers that share the lanes of a queue.
SELECT count(*) FROM router WHERE state = 1 AND queue_id = ? AND hosts_workflows;

-- name: mend_homes
-- A damaged row of a task queue or of one of its side queues belongs to the task queue again.
UPDATE queue SET home = nullif(column1, queue.id)
FROM (VALUES (?))
WHERE (namespace, name) = (SELECT q.namespace, q.name FROM queue AS q WHERE q.id = column1)
    AND home IS NOT nullif(column1, queue.id);

-- name: names_of_sides
-- The side queues of a task queue, as they are stored.
SELECT id, namespace, name, side FROM queue WHERE home = ?;

-- name: queue_names
-- Namespace and name of a task queue.
SELECT namespace, name FROM queue WHERE id = ?;

-- name: side_queues
-- The side queues of a task queue: type, whether in use, live routers that host the type.
SELECT q.id, q.side, q.used_ms > ? OR EXISTS (SELECT 1 FROM moved AS m WHERE m.queue_id = q.id),
    (SELECT count(*) FROM router AS r
     WHERE r.state = 1 AND r.queue_id = q.home AND r.hosts_workflows AND (
        r.workflow_types IS NULL
        OR EXISTS (SELECT 1 FROM json_each(r.workflow_types) AS t WHERE t.value = q.side)))
FROM queue AS q WHERE q.home = ? ORDER BY q.id;

-- name: owned_lanes
-- The lanes of a queue that are taken, and by whom. What nobody alive has is free, whatever its row says.
SELECT l.lane, l.owner FROM lane AS l JOIN router AS r ON r.router_id = l.owner AND r.state = 1
WHERE l.lane >= ? AND l.lane < ?;

-- name: take_lane
-- A free lane becomes this router's.
INSERT INTO lane (lane, owner) VALUES (?, ?)
ON CONFLICT (lane) DO UPDATE SET owner = excluded.owner;

-- name: release_lane
-- A lane becomes free.
DELETE FROM lane WHERE lane = ? AND owner = ?
    AND EXISTS (SELECT 1 FROM queue WHERE queue.id = lane.lane / 64 AND queue.namespace = ?);

-- name: leave
-- A router says good-bye.
UPDATE router SET state = 2, lease_until_ms = ?
WHERE router_id = ? AND namespace = ? AND state = 1;

-- name: hold_task
-- What a router had in hand that stands down, unless its run is closed or does not know of it, or it has
-- ended already.
INSERT INTO task (
    queue_id, activity_type, lane, run_id, seq, attempt, frame, owner, due_ms, scheduled_ms, state,
    held
)
SELECT
    column1, column2, column3, column4, column5, column6, column7, column9, column10, column11, x'',
    1
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
WHERE EXISTS (SELECT 1 FROM run WHERE run_id = column4 AND status = 1 AND lane = column3)
    AND (column8 < 0 OR EXISTS (SELECT 1 FROM journal WHERE run_id = column4 AND seq = column8))
    AND (column12 OR EXISTS (SELECT 1 FROM task WHERE run_id = column4 AND seq = column5))
    AND NOT EXISTS (SELECT 1 FROM ended WHERE run_id = column4 AND seq = column5)
ON CONFLICT (run_id, seq) DO UPDATE SET owner = excluded.owner, due_ms = excluded.due_ms
WHERE task.owner IS NULL AND excluded.owner IS NOT NULL AND task.attempt = excluded.attempt
    AND task.lane = excluded.lane;

-- name: stand_down
-- As if declared dead.
UPDATE router SET state = 0, lease_until_ms = ?
WHERE router_id = ? AND namespace = ? AND state = 1;

-- name: list_routers
-- The rollcall of a namespace without those that left.
SELECT
    r.router_id, r.namespace, r.queue_id, q.name,
    (SELECT count(*) FROM lane AS l WHERE l.owner = r.router_id),
    r.seen_ms - (SELECT clock_shift_ms FROM state), r.state = 1, r.info
FROM router AS r JOIN queue AS q ON q.id = r.queue_id
WHERE r.namespace = ? AND r.state <> 2 ORDER BY r.router_id;

-- name: forget_routers
-- Rows of routers that were declared dead or left long ago (their lease was cut off then).
DELETE FROM router WHERE state <> 1 AND lease_until_ms NOT BETWEEN ? AND ?;

-- name: delete_stale_replies
-- Answers that nobody came for.
DELETE FROM reply WHERE (id, namespace) IN
    (SELECT id, namespace FROM reply WHERE made_ms < ? ORDER BY made_ms LIMIT ?);
