"""Reading queries: ``=`` and IN, joined by AND, OR and parentheses, and GROUP BY to count.

Anything else of Temporal's filter language is refused by name, never ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hotmesh.exceptions import InvalidArgumentError
from hotmesh.visibility.tokens import END, Token, Tokens
from hotmesh.visibility.tree import AllOf, AnyOf, AttributeIs, Condition, Field, FieldIs
from hotmesh.visibility.values import values_of

_STATUSES = {
    "running": 1,
    "completed": 2,
    "failed": 3,
    "canceled": 4,
    "terminated": 5,
    "continuedasnew": 6,
    "timedout": 7,
}
_STATUS_NAMES = "Running, Completed, Failed, Canceled, Terminated, ContinuedAsNew, TimedOut"
_FIELDS = {field.value: field for field in Field}
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


@dataclass(frozen=True, slots=True)
class Query:
    """A query that was read."""

    where: Condition | None
    """Which runs; None for all."""
    by_status: bool
    """Whether the count is to be grouped by status."""

    def names(self) -> set[str]:
        """The attributes that it names."""
        return set() if self.where is None else set(_names(self.where))


def parse_query(text: str | None) -> Query:
    """Read a query.

    Args:
        text: The query; None or blank matches all.

    Raises:
        InvalidArgumentError: It is malformed or asks for more than is supported; names the term.
    """
    tokens = Tokens(text or "")
    where = None
    if tokens.peek() is not END and not tokens.peek().is_word("GROUP"):
        where = _any(tokens)
    by_status = tokens.take_word("GROUP")
    if by_status:
        _group_by(tokens)
    if tokens.peek() is not END:
        raise _unsupported(tokens.peek().text)
    return Query(where, by_status)


def _any(tokens: Tokens) -> Condition:
    terms = [_all(tokens)]
    while tokens.take_word("OR"):
        terms.append(_all(tokens))
    return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))


def _all(tokens: Tokens) -> Condition:
    terms = [_term(tokens)]
    while tokens.take_word("AND"):
        terms.append(_term(tokens))
    return terms[0] if len(terms) == 1 else AllOf(tuple(terms))


def _term(tokens: Tokens) -> Condition:
    token = tokens.take()
    if token.text == "(" and token.kind == "sign":
        inner = _any(tokens)
        closing = tokens.take()
        if closing.text != ")":
            raise InvalidArgumentError(f"Malformed filter: {closing.text} where ) was expected")
        return inner
    if token.kind not in ("word", "quoted") or _is_reserved(token):
        raise _unsupported(token.text)
    if tokens.take_word("IN"):
        return AnyOf(tuple(_is(token.text, each) for each in _listed(token.text, tokens)))
    sign = tokens.take()
    if sign.text != "=":
        raise _unsupported(f"{token.text} {sign.text}")
    return _is(token.text, _literal(token.text, tokens.take()))


def _is_reserved(token: Token) -> bool:
    return any(token.is_word(word) for word in ("AND", "OR", "NOT", "GROUP", "ORDER"))


def _listed(name: str, tokens: Tokens) -> Iterator[Any]:
    opening = tokens.take()
    if opening.text != "(":
        raise _unsupported(f"{name} IN {opening.text}")
    while True:
        yield _literal(name, tokens.take())
        sign = tokens.take()
        if sign.text == ")":
            return
        if sign.text != ",":
            raise _unsupported(f"{sign.text} after a value of {name} IN")


def _literal(name: str, token: Token) -> Any:
    value = token.value()
    if value is None:
        raise _unsupported(f"{name} = {token.text}")
    return value


def _is(name: str, value: Any) -> Condition:
    field = _FIELDS.get(name)
    if field is Field.STATUS:
        return FieldIs(field, _status(value))
    if field is not None:
        if not isinstance(value, str) or not value:
            raise _unsupported(f"{name} = {value!r}")
        return FieldIs(field, value)
    if name in _OTHER_FIELDS:
        raise _unsupported(name)
    terms = tuple(AttributeIs(name, each) for each in values_of(name, value))
    return terms[0] if len(terms) == 1 else AnyOf(terms)


def _status(value: Any) -> int:
    found = _STATUSES.get(value.replace("_", "").lower()) if isinstance(value, str) else None
    if found is None:
        raise InvalidArgumentError(
            f"Unknown ExecutionStatus {value!r} in filter; one of: {_STATUS_NAMES}"
        )
    return found


def _group_by(tokens: Tokens) -> None:
    by, name = tokens.take(), tokens.take()
    if not by.is_word("BY") or name.text != "ExecutionStatus" or tokens.peek() is not END:
        raise _unsupported(
            f"GROUP {by.text} {name.text}; only GROUP BY ExecutionStatus, at the end,"
        )


def _names(condition: Condition) -> Iterator[str]:
    if isinstance(condition, AttributeIs):
        yield condition.name
    elif isinstance(condition, (AllOf, AnyOf)):
        for term in condition.terms:
            yield from _names(term)


def _unsupported(term: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{term} is not supported in a filter. Supported: WorkflowType, WorkflowId, TaskQueue, "
        "ExecutionStatus and attributes, compared by = and IN, joined by AND and OR"
    )
