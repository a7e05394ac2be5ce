"""What the check of what is stored says."""

from hotmesh.client._check import _NAMES
from hotmesh.core import kinds


def test_each_command_that_is_awaited_has_a_name() -> None:
    assert set(_NAMES) == kinds.OPENING
