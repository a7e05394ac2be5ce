-- name: insert_piece
-- A piece of a large value.
INSERT INTO piece (run_id, part, number, data) VALUES (?, ?, ?, ?);

-- name: read_pieces
-- The pieces of a large value, in order.
SELECT data FROM piece WHERE run_id = ? AND part = ? ORDER BY number;
