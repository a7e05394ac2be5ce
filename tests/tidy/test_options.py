"""No option is taken and dropped in silence: whatever a public call takes, something reads.

What means nothing without a server is named here, and its docstring says so.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tidy.tree import PACKAGE, ROOT, parsed

FOLDERS = ("client", "worker", "workflow", "meshflow")
FILES = ("activity.py",)
INPUTS = ("client/_interceptor.py", "worker/_interceptor.py")

WITHOUT_MEANING = {
    # A server's
    *("rpc_metadata", "skip_archival", "request_eager_start", "next_page_token"),
    # Builds, to which no run is tied
    *("versioning_intent", "initial_versioning_behavior"),
    # Shown by Temporal's page of a running workflow
    *("summary", "timeout_summary"),
    # Hints on how to do what is done anyway
    *("local_retry_threshold", "page_size", "disable_eager_execution"),
}
"""Arguments and fields that may go unread."""

UNREAD = {
    "get_external_workflow_handle_for(workflow)",  # only a type checker looks at it
    "get_last_completion_result(type_hint)",  # there never is one
    "signal_external(headers)",  # the chain's own: an interceptor sets them on the input
}
"""Single arguments that may go unread."""


def dropped_arguments(root: Path) -> Iterator[str]:
    """Name the arguments of public functions that nothing but ``del`` touches."""
    for path in _files(root):
        for function in ast.walk(parsed(path)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for name in _unread(function):
                    shown = f"{function.name}({name})"
                    if shown not in UNREAD:
                        yield f"{path.relative_to(root)}:{function.lineno}: {shown}"


def dropped_fields(root: Path) -> Iterator[str]:
    """Name the fields of interceptors' inputs that no code of the package reads."""
    package = root / "python" / PACKAGE
    read = {
        node.attr
        for path in package.rglob("*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    for inputs in INPUTS:
        for node in ast.walk(parsed(package / inputs)):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Input"):
                for field in node.body:
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                        name = field.target.id
                        if name not in read and name not in WITHOUT_MEANING:
                            yield f"{inputs}: {node.name}.{name}"


def _files(root: Path) -> Iterator[Path]:
    package = root / "python" / PACKAGE
    for folder in FOLDERS:
        yield from sorted((package / folder).glob("*.py"))
    for file in FILES:
        yield package / file


def _unread(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    if function.name.startswith("_") and function.name != "__init__":
        return
    if _is_declaration(function):
        return
    arguments = function.args
    names = {each.arg for each in (*arguments.args, *arguments.kwonlyargs)}
    read = {
        node.id
        for statement in function.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    known = {"self", "cls", *WITHOUT_MEANING}
    yield from sorted(name for name in names - read - known if not name.startswith("_"))


def _is_declaration(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the body says nothing: a protocol's, an abstract or an overloaded function."""
    if any("abstract" in ast.unparse(each) for each in function.decorator_list):
        return True
    return all(
        isinstance(each, ast.Pass | ast.Raise)
        or (isinstance(each, ast.Expr | ast.Return) and isinstance(each.value, ast.Constant))
        for each in function.body
    )


def test_every_argument_is_read() -> None:
    assert list(dropped_arguments(ROOT)) == []


def test_every_field_of_an_input_is_read() -> None:
    assert list(dropped_fields(ROOT)) == []


def test_a_dropped_option_is_found(tmp_path: Path) -> None:
    package = tmp_path / "python" / PACKAGE
    for folder in FOLDERS:
        (package / folder).mkdir(parents=True)
    (package / "activity.py").write_text("def beat(details, rate):\n    del rate\n    details\n")
    (package / "client/_interceptor.py").write_text(
        "class AInput:\n    used: int\n    lost: int\n\ndef f(x):\n    return x.used\n"
    )
    (package / "worker/_interceptor.py").write_text("")
    assert list(dropped_arguments(tmp_path)) == ["python/hotmesh/activity.py:1: beat(rate)"]
    assert list(dropped_fields(tmp_path)) == ["client/_interceptor.py: AInput.lost"]
