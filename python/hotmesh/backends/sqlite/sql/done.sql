-- name: insert_done
-- The ids that a step is done with, joined.
INSERT INTO done (keys) VALUES (?);

-- name: read_done
-- What is new since a row.
SELECT id, keys FROM done WHERE id > ? ORDER BY id;

-- name: newest_done
-- Where to read on from.
SELECT coalesce(max(id), 0) FROM done;

-- name: delete_old_done
-- All rows but the newest so many; the newest itself stays, since the next id follows from it.
DELETE FROM done WHERE id <= (SELECT max(id) FROM done) - ?;
