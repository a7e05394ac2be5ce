-- name: pending_message
-- Messages that wait, in order: place, then run, message id, lane and its task queue, and the last: the
-- column that has another type than declared, or an id that was never given out, so that the row is
-- left where it is.
SELECT s.lane, s.id, s.run_id, s.id, s.lane, coalesce(q.name, ''), 0, '',
    CASE WHEN typeof(s.id) <> 'integer' OR s.id > (SELECT message_id FROM state) THEN 'id'
    WHEN typeof(s.kind) <> 'integer' THEN 'kind'
    WHEN typeof(s.frame) <> 'blob' THEN 'frame' ELSE '' END
FROM stream AS s LEFT JOIN queue AS q ON q.id = s.lane / 64
WHERE (q.namespace = ? OR q.id IS NULL) AND (s.lane, s.id) > (?, ?)
ORDER BY s.lane, s.id LIMIT ?;

-- name: pending_timer
-- Timers, in order: place, then run, key, lane and its task queue, and as above.
SELECT t.lane, t.due_ms, t.run_id, t.key, t.run_id, t.key, t.lane, coalesce(q.name, ''), 0, '',
    CASE WHEN typeof(t.due_ms) <> 'integer' THEN 'due_ms' WHEN typeof(t.key) <> 'integer' THEN 'key'
    ELSE '' END
FROM timer AS t LEFT JOIN queue AS q ON q.id = t.lane / 64
WHERE (q.namespace = ? OR q.id IS NULL) AND (t.lane, t.due_ms, t.run_id, t.key) > (?, ?, ?, ?)
ORDER BY t.lane, t.due_ms, t.run_id, t.key LIMIT ?;

-- name: pending_task
-- Activity tasks, in order: place, then run, seq, lane and its task queue, where they are claimed,
-- and as above.
SELECT t.run_id, t.seq, t.run_id, t.seq, t.lane, coalesce(q.name, ''), t.queue_id, t.activity_type,
    CASE WHEN typeof(t.seq) <> 'integer' THEN 'seq' WHEN typeof(t.due_ms) <> 'integer' THEN 'due_ms'
    WHEN typeof(t.attempt) <> 'integer' THEN 'attempt' ELSE '' END
FROM task AS t LEFT JOIN queue AS q ON q.id = t.lane / 64
WHERE (q.namespace = ? OR q.id IS NULL) AND (t.run_id, t.seq) > (?, ?)
ORDER BY t.run_id, t.seq LIMIT ?;

-- name: pending_wait
-- Runs that wait for mail, in order: place, then run, a number, lane and its task queue.
SELECT w.id, w.run_id, w.id, w.lane, coalesce(q.name, '')
FROM wait AS w LEFT JOIN queue AS q ON q.id = w.lane / 64
WHERE w.namespace = ? AND w.id > ? ORDER BY w.id LIMIT ?;
