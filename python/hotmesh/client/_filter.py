"""List filters: ``name = value`` terms joined by AND, and ``GROUP BY ExecutionStatus`` to count.

Anything else of Temporal's filter language is refused by name, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from hotmesh.backends.protocol import RunFilter, RunRow
from hotmesh.client._execution import STATUS_TITLES
from hotmesh.exceptions import InvalidArgumentError

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
      | (?P<number>[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]))
      | (?P<quoted>`[^`]+`)
      | (?P<word>[^\W\d][\w.$-]*|\$[\w.$-]+)
      | (?P<sign><=|>=|!=|<>|[=<>(),*])
    )""",
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)")
_STATUSES = {title.lower(): int(status) for status, title in STATUS_TITLES.items()}


class _Token(NamedTuple):
    kind: str
    """text, number, quoted, word, sign, or "" at the end."""
    text: str


_END = _Token("", "the end")


@dataclass(slots=True)
class ParsedFilter:
    """What a filter asks for."""

    runs: RunFilter
    """The part that the backend answers."""
    task_queue: str | None = None
    """The part that is looked at here."""
    nothing: bool = False
    """Two terms contradict each other: no run matches."""
    by_status: bool = False
    """Whether the count is to be grouped by status."""

    def matches(self, row: RunRow) -> bool:
        """Whether a row that the backend returned is wanted."""
        return self.task_queue is None or row.task_queue == self.task_queue


def parse_filter(namespace: str, query: str | None) -> ParsedFilter:
    """Read a list filter.

    Args:
        namespace: Whose runs.
        query: The filter; None or blank matches all.

    Raises:
        InvalidArgumentError: It is malformed or asks for more than is supported; names the term.
    """
    parsed = ParsedFilter(RunFilter(namespace))
    tokens = _tokens(query or "")
    token = next(tokens)
    while token is not _END:
        if _is_word(token, "GROUP"):
            _group_by(parsed, tokens)
            break
        _term(parsed, token, tokens)
        token = next(tokens)
        if _is_word(token, "AND"):
            token = next(tokens)
            if token is _END or _is_word(token, "GROUP"):
                raise _unsupported(f"{token.text} after AND")
        elif token is not _END and not _is_word(token, "GROUP"):
            raise _unsupported(token.text)
    return parsed


def _term(parsed: ParsedFilter, token: _Token, tokens: Iterator[_Token]) -> None:
    if token.kind not in ("word", "quoted"):
        raise _unsupported(token.text)
    name = token.text
    sign = next(tokens)
    if sign.text != "=":
        raise _unsupported(f"{name} {sign.text}")
    value = _value(name, next(tokens))
    runs = parsed.runs
    if name == "WorkflowType":
        runs.workflow_type = _same(parsed, runs.workflow_type, _text(name, value))
    elif name == "WorkflowId":
        runs.workflow_id = _same(parsed, runs.workflow_id, _text(name, value))
    elif name == "TaskQueue":
        parsed.task_queue = _same(parsed, parsed.task_queue, _text(name, value))
    elif name == "ExecutionStatus":
        runs.status = _same(parsed, runs.status, _status(value))
    elif name in _OTHER_FIELDS:
        raise _unsupported(name)
    else:
        encoded = orjson.dumps(value)
        runs.attributes[name] = _same(parsed, runs.attributes.get(name), encoded)


_OTHER_FIELDS = {
    "BatcherUser",
    "BinaryChecksums",
    "CloseTime",
    "ExecutionDuration",
    "ExecutionTime",
    "HistoryLength",
    "HistorySizeBytes",
    "ParentRunId",
    "ParentWorkflowId",
    "RootRunId",
    "RootWorkflowId",
    "RunId",
    "StartTime",
    "StateTransitionCount",
}
"""Fields of a run, not attributes: matching nothing without a word would be wrong."""


def _same(parsed: ParsedFilter, before: Any, value: Any) -> Any:
    """The value; terms that ask for two different values of one name match nothing."""
    if before and before != value:
        parsed.nothing = True
    return value


def _value(name: str, token: _Token) -> Any:
    if token.kind == "text":
        return _unquoted(token.text)
    if token.kind == "number":
        digits = token.text.lstrip("+")
        return float(digits) if any(each in digits for each in ".eE") else int(digits)
    if token.kind == "word" and token.text.lower() in ("true", "false"):
        return token.text.lower() == "true"
    raise _unsupported(f"{name} = {token.text}")


def _unquoted(text: str) -> str:
    quote = text[0]
    return _ESCAPED.sub(r"\1", text[1:-1].replace(quote * 2, quote))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _unsupported(f"{name} = {value!r}")
    return value


def _status(value: Any) -> int:
    found = _STATUSES.get(value.replace("_", "").lower()) if isinstance(value, str) else None
    if found is None:
        known = ", ".join(STATUS_TITLES.values())
        raise InvalidArgumentError(f"Unknown ExecutionStatus {value!r} in filter; one of: {known}")
    return found


def _group_by(parsed: ParsedFilter, tokens: Iterator[_Token]) -> None:
    by, name = next(tokens), next(tokens)
    if not _is_word(by, "BY") or name.text != "ExecutionStatus" or next(tokens) is not _END:
        raise _unsupported(
            f"GROUP {by.text} {name.text}; only GROUP BY ExecutionStatus, at the end,"
        )
    parsed.by_status = True


def _tokens(query: str) -> Iterator[_Token]:
    if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError(f"A filter must be text, not {type(query).__name__}")
    at = 0
    end = len(query.rstrip())
    while at < end:
        found = _TOKEN.match(query, at)
        if found is None or found.lastgroup is None:
            raise InvalidArgumentError(f"Malformed filter at {query[at:].strip()[:40]!r}")
        text = found[found.lastgroup]
        yield _Token(found.lastgroup, text.strip("`") if found.lastgroup == "quoted" else text)
        at = found.end()
    while True:
        yield _END


def _is_word(token: _Token, word: str) -> bool:
    return token.kind == "word" and token.text.upper() == word


def _unsupported(term: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{term} is not supported in a filter. Supported: WorkflowType, WorkflowId, TaskQueue, "
        "ExecutionStatus and attributes compared by = and joined by AND"
    )
