"""Which version of a worker's code a workflow runs on."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from enum import IntEnum

from hotmesh.exceptions import InvalidArgumentError


class VersioningBehavior(IntEnum):
    """Whether a running workflow moves to a newer version of its code."""

    UNSPECIFIED = 0
    """Not said; only allowed on workers that do not use versioning."""
    PINNED = 1
    """It stays on the build it started on until moved by hand."""
    AUTO_UPGRADE = 2
    """It moves to the current build at its next task."""


@dataclass(frozen=True)
class WorkerDeploymentVersion:
    """One build of one worker deployment."""

    deployment_name: str
    build_id: str

    def to_canonical_string(self) -> str:
        """Return ``<deployment_name>.<build_id>``."""
        return f"{self.deployment_name}.{self.build_id}"

    @staticmethod
    def from_canonical_string(canonical: str) -> WorkerDeploymentVersion:
        """Parse ``<deployment_name>.<build_id>``; the name may not contain a dot.

        Raises:
            InvalidArgumentError: There is no dot.
        """
        name, dot, build_id = canonical.partition(".")
        if not dot:
            raise InvalidArgumentError(
                f"Cannot parse version string: {canonical}, must be in format "
                "<deployment_name>.<build_id>"
            )
        return WorkerDeploymentVersion(name, build_id)


class VersioningOverride(ABC):  # noqa: B024 - a closed pair of subclasses, nothing to override
    """Sets the versioning behaviour of one workflow, whatever its worker says."""


@dataclass(frozen=True)
class PinnedVersioningOverride(VersioningOverride):
    """The workflow stays on one version."""

    version: WorkerDeploymentVersion


@dataclass(frozen=True)
class AutoUpgradeVersioningOverride(VersioningOverride):
    """The workflow moves to the current version at its next task."""
