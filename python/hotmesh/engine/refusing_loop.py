"""What of an event loop would reach outside the workflow: refused, with what to do instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

_IN_AN_ACTIVITY = "do it in an activity (workflow.execute_activity)"

_THREADS = (
    f"threads can't be replayed; {_IN_AN_ACTIVITY}: a plain function runs in a thread of its own"
)
_NETWORK = f"connections can't be replayed; {_IN_AN_ACTIVITY}"
_PROCESSES = f"processes can't be replayed; {_IN_AN_ACTIVITY}"
_LIFE = "a workflow's loop is run by its worker; just await"

_REFUSED = {
    "call_soon_threadsafe": "another thread may not move a workflow; send it a signal",
    "run_in_executor": _THREADS,
    "set_default_executor": _THREADS,
    "shutdown_default_executor": _THREADS,
    **dict.fromkeys(
        (
            *("getaddrinfo", "getnameinfo", "create_connection", "create_server"),
            *("create_unix_connection", "create_unix_server", "create_datagram_endpoint"),
            *("connect_accepted_socket", "start_tls", "sendfile"),
            *("connect_read_pipe", "connect_write_pipe"),
            *("add_reader", "remove_reader", "add_writer", "remove_writer"),
            *("sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"),
            *("sock_sendall", "sock_sendto", "sock_connect", "sock_accept", "sock_sendfile"),
        ),
        _NETWORK,
    ),
    **dict.fromkeys(("subprocess_exec", "subprocess_shell"), _PROCESSES),
    **dict.fromkeys(
        ("add_signal_handler", "remove_signal_handler"), "signals belong to the process"
    ),
    **dict.fromkeys(
        ("run_forever", "run_until_complete", "stop", "close", "shutdown_asyncgens"), _LIFE
    ),
    **dict.fromkeys(("set_task_factory", "set_debug"), "a workflow's loop is set up by its worker"),
}
"""Method → what to do instead."""


def _refusal(name: str, advice: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError(f"loop.{name}() in a workflow: {advice}")

    refuse.__name__ = name
    return refuse


class RefusingLoop(asyncio.AbstractEventLoop):
    """An event loop all of whose methods that reach outside say what to do instead."""


for _name, _advice in _REFUSED.items():
    setattr(RefusingLoop, _name, _refusal(_name, _advice))
