-- name: pending_message
-- Messages that wait, in order: place, then run and message id.
SELECT s.lane, s.id, s.run_id, s.id
FROM stream AS s JOIN queue AS q ON q.id = s.lane / 64
WHERE q.namespace = ? AND (s.lane, s.id) > (?, ?)
ORDER BY s.lane, s.id LIMIT ?;

-- name: pending_timer
-- Timers, in order: place, then run and key.
SELECT t.lane, t.due_ms, t.run_id, t.key, t.run_id, t.key
FROM timer AS t JOIN queue AS q ON q.id = t.lane / 64
WHERE q.namespace = ? AND (t.lane, t.due_ms, t.run_id, t.key) > (?, ?, ?, ?)
ORDER BY t.lane, t.due_ms, t.run_id, t.key LIMIT ?;

-- name: pending_task
-- Activity tasks, in order: place, then run and seq.
SELECT t.run_id, t.seq, t.run_id, t.seq
FROM task AS t JOIN queue AS q ON q.id = t.lane / 64
WHERE q.namespace = ? AND (t.run_id, t.seq) > (?, ?)
ORDER BY t.run_id, t.seq LIMIT ?;

-- name: pending_wait
-- Runs that wait for mail, in order: place, then run and a number.
SELECT id, run_id, id FROM wait WHERE namespace = ? AND id > ? ORDER BY id LIMIT ?;
