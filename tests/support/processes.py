"""One server process: its directory, its port, and how it is started, stopped and killed.

A server keeps its directory and port over a restart, as a database behind a fixed address does.
"""

import abc
import atexit
import contextlib
import errno
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
STOP_AGAIN_S = 3.0
POLL_INTERVAL_S = 0.02
# Below the range the kernel hands out to outgoing connections, so that no client takes a server's
# port while it restarts. Redis Cluster's bus listens at port + 10,000, below that range as well.
PORT_FIRST = 10_000
PORT_LAST = 21_999
CLUSTER_BUS_OFFSET = 10_000


class ServerError(RuntimeError):
    """A server's binary is missing, or it did not start or stop; carries the end of its log."""


def find_binary(name: str, package: str, *more_dirs: Path) -> Path:
    """Return the path of `name`, looking in `more_dirs` before PATH; `package` is Debian's."""
    dirs = [*map(str, more_dirs), *os.get_exec_path(), "/usr/sbin", "/usr/local/sbin"]
    found = shutil.which(name, path=os.pathsep.join(dirs))
    if found is None:
        raise ServerError(f"{name} not found: apt-get install --no-install-recommends {package}")
    return Path(found)


def free_port() -> int:
    """Return a port on which nothing listens now, nor on its cluster bus port."""
    for _ in range(200):
        port = random.randint(PORT_FIRST, PORT_LAST)
        if _is_free(port) and _is_free(port + CLUSTER_BUS_OFFSET):
            return port
    raise ServerError(f"no free port between {PORT_FIRST} and {PORT_LAST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def unprivileged_user() -> str | None:
    """Return the user a server is run as when we are root (Postgres refuses root), else None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServerError("running as root, and there is neither a user postgres nor nobody")


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below `pid` (empty where /proc is not Linux's)."""
    below: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, tasks.read_text().split()):
                below += [child, *descendants(child)]
    return below


class Server(abc.ABC):
    """A private server on 127.0.0.1 with a directory of its own.

    Every method blocks until what it names is done; from async code call it through
    `asyncio.to_thread`.
    """

    name: str  # also the prefix of the directory
    stop_signal: signal.Signals = signal.SIGTERM

    def __init__(self) -> None:
        self.port = free_port()
        self.user = unprivileged_user()
        self.directory = Path(tempfile.mkdtemp(prefix=f"hotmesh-{self.name}-"))
        self.log_path = self.directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._own(self.directory)
        atexit.register(self.close)

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where a client connects."""

    @property
    def pid(self) -> int:
        """The id of the server's (main) process; raises ServerError when it does not run."""
        if self._process is None:
            raise ServerError(f"{self.name} on port {self.port} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (it may have died by itself)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start on the directory and port, and return once a client was served."""
        if self.running:
            raise ServerError(f"{self.name} on port {self.port} is already running")
        self._prepare()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C in the terminal is for pytest, not for us
                **self._identity(),
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """Stop in good order, what was written being on disk; nothing happens if not running."""
        if self._process is None:
            return
        # Said again: Redis forgets it if it is just writing its first append-only file.
        for _ in range(int(STOP_TIMEOUT_S / STOP_AGAIN_S)):
            if self.running:
                self._process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_AGAIN_S)
                break
        else:
            self.kill9()
            raise self._failure(f"did not stop within {STOP_TIMEOUT_S:.0f} s")
        self._process = None

    def kill9(self) -> None:
        """End the server and all its children as a crash would: at once, nothing flushed."""
        if self._process is None:
            return
        victims = [self._process.pid, *descendants(self._process.pid)]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)
        wait_until(
            lambda: not any(_alive(pid) for pid in victims),
            STOP_TIMEOUT_S,
            f"{self.name}: children outlived kill -9",
        )
        self._process = None

    def restart(self, *, kill9: bool = False) -> None:
        """Stop (or, with `kill9`, kill) and start again on the same data and port."""
        if kill9:
            self.kill9()
        else:
            self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server and delete its directory; it cannot be started again."""
        atexit.unregister(self.close)
        try:
            self.stop()  # in good order, or Postgres leaves shared memory behind
        finally:
            shutil.rmtree(self.directory)

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def _command(self) -> list[str]: ...

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Whether a client is served now; raises OSError when nothing listens yet."""

    def _prepare(self) -> None:  # noqa: B027  (most servers need nothing)
        """Make what the first start needs; called before every start."""

    def _identity(self) -> dict[str, object]:
        if self.user is None:
            return {}
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []}

    def _own(self, path: Path) -> None:
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            os.chown(path, account.pw_uid, account.pw_gid)

    def _run(self, command: list[str]) -> None:
        """Run a helper of the server as its user; raises ServerError with what it printed."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            **self._identity(),
        )
        if done.returncode != 0:
            raise ServerError(f"{' '.join(command)} failed:\n{done.stdout}")

    def _wait_until_ready(self) -> None:
        def ready() -> bool:
            if not self.running:
                raise self._failure("ended while it started")
            try:
                return self._answers()
            except OSError:
                return False

        wait_until(ready, START_TIMEOUT_S, f"{self.name}: no answer on port {self.port}")

    def _failure(self, what: str) -> ServerError:
        tail = self.log_path.read_text(errors="replace")[-2000:] if self.log_path.exists() else ""
        return ServerError(f"{self.name} on port {self.port} {what}; its log ends:\n{tail}")


def wait_until(condition: Callable[[], bool], timeout_s: float, failure: str) -> None:
    """Return when `condition` holds; raises ServerError with `failure` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"{failure} (waited {timeout_s:.0f} s)")
        time.sleep(POLL_INTERVAL_S)


@contextlib.contextmanager
def connection(port: int, timeout_s: float = 5.0) -> Iterator[socket.socket]:
    """Open a plain connection to a local server."""
    with socket.create_connection((HOST, port), timeout_s) as opened:
        yield opened


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")  # a zombie waits for its parent only; it holds no file or port
