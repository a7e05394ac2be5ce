"""The Redis and Valkey backend; the keys are listed in `lua/common.lua`."""

from __future__ import annotations

from hotmesh.backends.redis.backend import RedisBackend

__all__ = ["RedisBackend"]
