"""The SQL files: every statement is found, and lives in the schema asked for."""

import re

from hotmesh.backends.postgres.columns import StartBatch, step_columns
from hotmesh.backends.postgres.statements import functions_script, schema_script, statements
from hotmesh.backends.protocol import Step


def test_every_name_of_the_schema_is_replaced() -> None:
    scripts = [schema_script("other"), functions_script("other"), *statements("other").values()]
    code = re.sub(r"--.*", "", "\n".join(scripts))
    assert "hotmesh" not in code
    assert "other.run" in code


def test_parameters_are_numbered() -> None:
    assert statements("hotmesh")["prune"].endswith("hotmesh.prune($1, $2, $3, $4);")
    assert "hotmesh.send($1, $2, $3, $4, $5, $6, $7)" in statements("hotmesh")["send"]


def test_a_step_has_as_many_arguments_as_its_function() -> None:
    signature = functions_script("hotmesh").partition("hotmesh.step(")[2].partition("out now")[0]
    arguments = re.sub(r"--.*", "", signature).count(",")
    assert f"${arguments})" in statements("hotmesh")["step"]
    before = signature.partition("journal_run")[0]
    leading = re.sub(r"--.*", "", before).count(",")
    assert len(step_columns(Step(b""), StartBatch([]), ((), ()))) == arguments - leading
