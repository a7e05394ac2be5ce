"""The floor on Postgres: one statement to start a batch, one to claim, one to commit.

Makes and drops its own schema, `hotmesh_floor`, and touches nothing else.
"""

from collections.abc import Sequence
from typing import Any

import asyncpg
import shared

SCHEMA = """
drop schema if exists hotmesh_floor cascade;
create schema hotmesh_floor;
create table hotmesh_floor.runs (
    run bigint primary key, name text not null unique, closed boolean not null default false,
    result bytea
) with (fillfactor = 70);
create table hotmesh_floor.journal (
    run bigint, seq integer, payload bytea, primary key (run, seq)
);
create table hotmesh_floor.inbox (
    id bigint generated always as identity primary key, queue integer not null,
    run bigint not null, input bytea not null, taken_at timestamptz
) with (fillfactor = 70);
create function hotmesh_floor.commit_batch(
    journal_run bigint[], journal_seq integer[], journal_payload bytea[],
    closed_run bigint[], closed_result bytea[], handled bigint[]
) returns void language plpgsql as $$
begin
    insert into hotmesh_floor.journal
        select * from unnest(journal_run, journal_seq, journal_payload);
    update hotmesh_floor.runs set closed = true, result = c.result
        from unnest(closed_run, closed_result) as c(run, result) where runs.run = c.run;
    delete from hotmesh_floor.inbox where id = any(handled);
    notify hotmesh_floor;
end $$;
"""
START = """
with started as (
    insert into hotmesh_floor.runs (run, name)
    select * from unnest($1::bigint[], $2::text[]) on conflict do nothing returning run
)
insert into hotmesh_floor.inbox (queue, run, input) select 1, run, $3 from started
"""
CLAIM = """
update hotmesh_floor.inbox set taken_at = now() where id in (
    select id from hotmesh_floor.inbox where queue = 1 and taken_at is null
    order by id limit $1 for update skip locked
) returning id, run
"""
COMMIT = "select hotmesh_floor.commit_batch($1, $2, $3, $4, $5, $6)"
CLOSED = "select run, result from hotmesh_floor.runs where run = any($1::bigint[]) and closed"


class PostgresStore:
    """A connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def prepare(self) -> None:
        await self._connection.execute(SCHEMA)

    async def start(self, runs: Sequence[int]) -> None:
        names = [f"workflow-{run}" for run in runs]
        await self._connection.execute(START, list(runs), names, b"[1]")

    async def closed(self, runs: Sequence[int]) -> set[int]:
        return {run for run, _ in await self._connection.fetch(CLOSED, runs)}

    async def claim(self, room: int, idle: bool) -> list[tuple[Any, int]]:
        return [(row[0], row[1]) for row in await self._connection.fetch(CLAIM, room)]

    async def commit(self, batch: shared.Batch) -> None:
        await self._connection.fetchval(
            COMMIT,
            batch.journal_run,
            batch.journal_seq,
            batch.journal_payload,
            batch.closed_run,
            batch.closed_result,
            batch.handled,
        )

    async def written(self) -> int:
        return int(await self._connection.fetchval("select pg_current_wal_lsn() - '0/0'::pg_lsn"))

    async def close(self) -> None:
        await self._connection.close()


async def connect(url: str) -> shared.Store:
    """Connect to the database at ``url``."""
    return PostgresStore(await asyncpg.connect(url))


if __name__ == "__main__":
    shared.main("postgres", connect, "postgresql://postgres@127.0.0.1:5432/postgres")
