"""Importing the package never imports what only an extra installs."""

import json
import subprocess
import sys

EXTRAS = {"asyncpg", "hiredis", "nats", "opentelemetry", "pydantic", "redis", "rich", "uvloop"}
PROGRAM = """
import json, sys
import hotmesh, hotmesh.client, hotmesh.meshflow, hotmesh.worker, hotmesh.workflow
print(json.dumps(sorted(sys.modules)))
"""


def test_no_extra_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert EXTRAS.isdisjoint(json.loads(done.stdout))
