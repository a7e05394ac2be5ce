"""The Postgres backend: runs live in tables of one schema, a step is one function call."""

from hotmesh.backends.postgres.backend import PostgresBackend

__all__ = ["PostgresBackend"]
