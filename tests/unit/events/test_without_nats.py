"""Without its library the NATS bus says what to install."""

import sys

import pytest

from hotmesh.events import NatsBus
from hotmesh.exceptions import MissingExtraError


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hotmesh\[nats\]'"):
        NatsBus("nats://h", "ns")
