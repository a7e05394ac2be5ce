-- name: has_tables
-- Whether anything has been stored in this file yet.
SELECT count(*) FROM sqlite_schema;

-- name: begin_write
-- Takes the write lock at once, so that no step fails halfway for want of it.
BEGIN IMMEDIATE;

-- name: begin_read
-- One snapshot for all reads of a group.
BEGIN;

-- name: commit
-- Everything of the group, with one sync.
COMMIT;

-- name: shrink
-- Lets go of the pages in memory.
PRAGMA shrink_memory;

-- name: small_cache
-- Pages that a transaction with large values may keep in memory: they are of no use to others.
PRAGMA cache_size = -4096;

-- name: full_cache
-- Pages that the others may.
PRAGMA cache_size = -65536;

-- name: rollback
-- Nothing of the group.
ROLLBACK;

-- name: savepoint
-- Where one batch of a group begins.
SAVEPOINT batch;

-- name: release
-- The batch is kept.
RELEASE batch;

-- name: rollback_batch
-- The batch is not kept; the others are.
ROLLBACK TO batch;

-- name: read_state
-- The counters of the database.
SELECT message_id, posted_timers, clock_shift_ms FROM state WHERE id = 1;

-- name: write_state
-- The counters of the database.
UPDATE state SET message_id = ?, posted_timers = ?, clock_shift_ms = ? WHERE id = 1;

-- name: insert_messages
-- Messages at the ends of their lanes.
INSERT INTO stream (lane, id, run_id, kind, frame)
SELECT * FROM (VALUES (?, ?, ?, ?, ?)) WHERE column1 <> -1;
