"""`python -m hotmesh`: the same as the `hotmesh` command."""

from __future__ import annotations

import sys

from hotmesh.cli import main

sys.exit(main())
