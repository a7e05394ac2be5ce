"""Errors of client calls, under the module name that ported code imports them from."""

from __future__ import annotations

from hotmesh.exceptions import RPCError, RPCStatusCode

__all__ = ["RPCError", "RPCStatusCode"]
