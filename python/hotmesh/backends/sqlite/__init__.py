"""The SQLite backend: one file, one writer thread per process, one commit per group of batches."""

from hotmesh.backends.sqlite.backend import SqliteBackend

__all__ = ["SqliteBackend"]
