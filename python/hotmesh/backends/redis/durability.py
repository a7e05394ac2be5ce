"""Warns of server settings under which acknowledged work can be lost."""

from __future__ import annotations

import logging
from typing import cast

from hotmesh.backends.redis.link import Link
from hotmesh.backends.redis.servers import Servers
from hotmesh.exceptions import BackendError, BackendUnavailableError

_logger = logging.getLogger(__name__)


async def check(servers: Servers) -> None:
    """Look at every node's settings and log one warning for each finding.

    Raises:
        BackendUnavailableError: a node can't be reached.
    """
    for address in servers.masters():
        link = await servers.open_at(address)
        try:
            for finding in await _findings(link):
                _logger.warning("Redis at %s: %s", address, finding)
        finally:
            await link.close()


async def _findings(link: Link) -> list[str]:
    try:
        append_only = await _setting(link, "appendonly")
        fsync = await _setting(link, "appendfsync")
        eviction = await _setting(link, "maxmemory-policy")
    except BackendUnavailableError:
        raise
    except BackendError as error:
        return [f"can't check that it keeps what it is told (CONFIG GET: {error})"]
    findings: list[str] = []
    if append_only != "yes":
        findings.append("appendonly is off: workflows are lost when it stops; set appendonly yes")
    elif fsync != "always":
        findings.append(
            f"appendfsync is {fsync}: the last moments before a crash are lost; "
            "set appendfsync always to lose nothing"
        )
    if eviction != "noeviction":
        findings.append(
            f"maxmemory-policy is {eviction}: workflows may be evicted; set it to noeviction"
        )
    return findings


async def _setting(link: Link, name: str) -> str:
    pair = cast("list[bytes]", await link.command("CONFIG", "GET", name))
    return pair[1].decode() if len(pair) == 2 else ""
