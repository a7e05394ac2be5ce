"""Handlers that workflow code installs while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hotmesh.engine.context import current
from hotmesh.engine.definition import (
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
    check_dynamic_handler,
    type_hints_of,
)
from hotmesh.engine.handlers import current_update
from hotmesh.engine.info import UpdateInfo

Handler = Callable[..., Any]


def _bound(definition: Any) -> Handler | None:
    if definition is None:
        return None
    return definition.fn.__get__(current().object) if definition.is_method else definition.fn


def get_signal_handler(name: str) -> Handler | None:
    """The handler of a signal, or None."""
    return _bound(current().handlers.signals.get(name))


def get_dynamic_signal_handler() -> Handler | None:
    """The handler of signals that have none of their own, or None."""
    return _bound(current().handlers.signals.get(None))


def set_signal_handler(name: str, handler: Handler | None) -> None:
    """Install a signal handler (None removes it). Signals that waited for it are delivered."""
    _set_signal(name, handler)


def set_dynamic_signal_handler(handler: Handler | None) -> None:
    """Install the handler ``(name, args: Sequence[RawValue])`` of all other signals."""
    _set_signal(None, handler)


def _set_signal(name: str | None, handler: Handler | None) -> None:
    instance = current()
    instance.check_writable("set signal handler")
    instance.handlers.set_signal(
        name,
        None
        if handler is None
        else SignalDefinition(
            name=name, fn=handler, is_method=False, arg_types=_types(name, handler, "signal")[0]
        ),
    )


def get_query_handler(name: str) -> Handler | None:
    """The handler of a query, or None."""
    return _bound(current().handlers.queries.get(name))


def get_dynamic_query_handler() -> Handler | None:
    """The handler of queries that have none of their own, or None."""
    return _bound(current().handlers.queries.get(None))


def set_query_handler(name: str, handler: Handler | None) -> None:
    """Install a query handler (None removes it)."""
    _set_query(name, handler)


def set_dynamic_query_handler(handler: Handler | None) -> None:
    """Install the handler ``(name, args: Sequence[RawValue])`` of all other queries."""
    _set_query(None, handler)


def _set_query(name: str | None, handler: Handler | None) -> None:
    instance = current()
    instance.check_writable("set query handler")
    if handler is None:
        instance.handlers.queries.pop(name, None)
        return
    types, result = _types(name, handler, "query")
    instance.handlers.queries[name] = QueryDefinition(
        name=name, fn=handler, is_method=False, arg_types=types, ret_type=result
    )


def get_update_handler(name: str) -> Handler | None:
    """The handler of an update, or None."""
    return _bound(current().handlers.updates.get(name))


def get_dynamic_update_handler() -> Handler | None:
    """The handler of updates that have none of their own, or None."""
    return _bound(current().handlers.updates.get(None))


def set_update_handler(
    name: str, handler: Handler | None, *, validator: Callable[..., None] | None = None
) -> None:
    """Install an update handler and its validator (None removes it)."""
    _set_update(name, handler, validator)


def set_dynamic_update_handler(
    handler: Handler | None, *, validator: Callable[..., None] | None = None
) -> None:
    """Install the handler ``(name, args: Sequence[RawValue])`` of all other updates."""
    _set_update(None, handler, validator)


def _set_update(
    name: str | None, handler: Handler | None, validator: Callable[..., None] | None
) -> None:
    instance = current()
    instance.check_writable("set update handler")
    if handler is None:
        instance.handlers.updates.pop(name, None)
        return
    types, result = _types(name, handler, "update")
    instance.handlers.updates[name] = UpdateDefinition(
        name=name,
        fn=handler,
        is_method=False,
        arg_types=types,
        ret_type=result,
        validator=validator,
    )


def _types(name: str | None, handler: Handler, kind: str) -> tuple[list[Any] | None, Any]:
    if name is None:
        check_dynamic_handler(handler, kind, is_method=False)
    types, result = type_hints_of(handler, skip_self=False)
    return (None if name is None else types), result


def all_handlers_finished() -> bool:
    """Whether no signal or update handler is at work; a condition to wait for before the end."""
    return current().handlers.all_finished()


def current_update_info() -> UpdateInfo | None:
    """The update that the calling code handles, or None."""
    return current_update.get()
