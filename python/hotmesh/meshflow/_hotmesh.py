"""What examples of HotMesh for other languages ask the class of that name for."""

from __future__ import annotations

from hotmesh.meshflow.client import guid


class HotMesh:
    """Ids, as in ``HotMesh.guid()``. Workflows are the matter of ``MeshFlow``."""

    guid = staticmethod(guid)
