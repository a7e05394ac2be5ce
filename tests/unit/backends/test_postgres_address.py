"""What a Postgres URL says."""

import socket
import ssl
import traceback

import asyncpg
import pytest

from hotmesh.backends.postgres import PostgresBackend, parameters
from hotmesh.backends.postgres.address import Address, parse_address
from hotmesh.backends.postgres.failures import connect_failure
from hotmesh.backends.registry import backend_for
from hotmesh.exceptions import (
    BackendAccessError,
    BackendUnavailableError,
    HotMeshError,
    InvalidArgumentError,
)

URL = "postgresql://user:secret@db:5433/app"
DSN = "postgresql://user:secret@/app"


def test_our_parameters_are_kept_from_the_driver() -> None:
    address = parse_address(f"{URL}?schema=mesh&sslmode=require&pooler=1")
    assert address.dsn == f"{DSN}?sslmode=require"
    assert address.places == (("db", 5433),)
    assert address.schema == "mesh"
    assert address.pooler is True


def test_defaults() -> None:
    address = parse_address(URL)
    assert (address.dsn, address.schema, address.pooler) == (DSN, "hotmesh", None)
    assert address.settings == {"application_name": "hotmesh"}
    assert address.session_attributes == "any"
    assert parse_address("postgresql:///app").places == ()


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("h1:5433,h2/app", (("h1", 5433), ("h2", None))),
        ("h1,h2/app?port=6000", (("h1", 6000), ("h2", 6000))),
        ("h1,h2/app?port=6000,6001", (("h1", 6000), ("h2", 6001))),
        ("/app?host=h1,h2:7", (("h1", None), ("h2", 7))),
        ("/app?host=/run/pg", (("/run/pg", None),)),
        ("%2Frun%2Fpg/app", (("/run/pg", None),)),
        ("[::1]:5433,[fe80::1]/app", (("::1", 5433), ("fe80::1", None))),
        ("h%401,h%402:543%33/app", (("h@1", None), ("h@2", 5433))),
    ],
)
def test_hosts(place: str, found: object) -> None:
    assert parse_address(f"postgresql://{place}").places == found


def test_an_empty_path_leaves_the_database_to_the_environment() -> None:
    assert (
        parse_address("postgresql://u@h/?sslmode=disable").dsn == "postgresql://u@?sslmode=disable"
    )
    with pytest.raises(InvalidArgumentError, match="'database'"):
        parse_address("postgresql://u@h?dbname=one&database=another")
    assert parse_address("postgresql://u@h?dbname=one").dsn == "postgresql://u@?dbname=one"


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, "any"),
        ({"PGHOST": "h1"}, "any"),
        ({"PGHOST": "h1,h2"}, "read-write"),
        ({"PGHOST": "h1,h2", "PGTARGETSESSIONATTRS": "primary"}, "primary"),
        ({"PGTARGETSESSIONATTRS": "read-write"}, "read-write"),
    ],
)
def test_hosts_of_the_environment_are_chosen_as_those_of_a_url(
    environment: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGTARGETSESSIONATTRS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert parse_address("postgresql:///app").session_attributes == found


def test_of_several_servers_one_that_writes_will_do() -> None:
    assert parse_address("postgresql://h1,h2/app").session_attributes == "read-write"
    given = parse_address("postgresql://h1,h2/app?target_session_attrs=primary")
    assert given.session_attributes == "primary"


def test_parameters_are_passed_on() -> None:
    address = parse_address(
        f"{URL}?connect_timeout=3&command_timeout=7&statement_cache_size=0&direct_tls=1"
        "&keepalives_idle=30&tcp_user_timeout=1000&application_name=mine&search_path=x"
        "&options=-c%20statement_timeout%3D5s&sslnegotiation=direct"
    )
    assert (address.connect_s, address.call_s, address.statements_cached) == (3, 7, 0)
    assert address.direct_tls is True
    assert address.keepalives.on
    assert address.keepalives.options == {
        socket.TCP_KEEPIDLE: 30,
        socket.TCP_USER_TIMEOUT: 1000,
    }
    assert address.settings == {
        "application_name": "mine",
        "search_path": "x",
        "options": "-c statement_timeout=5s",
    }
    assert address.dsn.endswith("?sslnegotiation=direct")


def test_a_fallback_name_falls_back() -> None:
    one = parse_address(f"{URL}?fallback_application_name=f")
    other = parse_address(f"{URL}?fallback_application_name=f&application_name=a")
    assert [each.settings["application_name"] for each in (one, other)] == ["f", "a"]
    assert not parse_address(f"{URL}?keepalives=0").keepalives.on


@pytest.mark.parametrize(
    "query",
    [
        "channel_binding=prefer", "gssencmode=disable", "client_encoding=utf8", "sslsni=1",
        "ssl=require", "load_balance_hosts=random", "target_session_attrs=any",
    ],
)  # fmt: skip
def test_what_is_done_anyway_needs_nothing(query: str) -> None:
    assert parse_address(f"{URL}?{query}").settings == {"application_name": "hotmesh"}


@pytest.mark.parametrize(
    "query",
    [
        "schema=", "schema=My", "schema=a;b", f"schema={'a' * 49}", "schema=1a", "pooler=yes",
        "channel_binding=require", "gssencmode=require", "client_encoding=latin1",
        "connect_timeout=soon", "connect_timeout=0", "connect_timeout=inf", "keepalives_idle=-1",
        "connect_timeout=nan", "connect_timeout=1e300", "command_timeout=0", "command_timeout=-1",
        "command_timeout=1e300", "statement_cache_size=-1", "statement_cache_size=99999999999",
        "keepalives_idle=32768", "keepalives_interval=32768", "keepalives_count=128",
        "tcp_user_timeout=2147483648", "keepalives_idle=1.5",
        "keepalives=maybe", "target_session_attrs=standby", "load_balance_hosts=all",
        "ssl=require&sslmode=disable", "timeout=1&connect_timeout=1", "schema=a&schema=b",
        "host=other", "port=1,2", "sslmode=require&sslrootcert=system", "port=5433", "user=other",
        "password=other", "dbname=other", "database=other",
        *(f"{name}=1" for name in parameters.REFUSED),
    ],
)  # fmt: skip
def test_what_can_not_be_honoured_is_refused_by_name(query: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_address(f"{URL}?{query}")
    assert query.partition("=")[0] in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db:bad/app", "postgresql://db:0/app", "postgresql://u:se@cret@db/app",
        "postgresql://u:se/cret@db/app", "postgresql://u:se#cret@db/app", "postgresql://a,,b/app",
        "postgresql://u:se?cret@db/app", "postgresql://[::1/app",
    ],
)  # fmt: skip
def test_what_is_no_url_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not a Postgres URL") as caught:
        parse_address(url)
    said = "".join(traceback.format_exception(caught.value))
    assert "cret" not in said.partition("InvalidArgumentError")[2]


def test_a_url_names_a_database_and_no_driver() -> None:
    for scheme in ("postgres", "postgresql+asyncpg", "postgresql+psycopg2"):
        backend = backend_for(URL.replace("postgresql", scheme))
        assert isinstance(backend, PostgresBackend)
        assert parse_address(backend.url).dsn == DSN


def test_secrets_are_in_no_representation() -> None:
    address = parse_address(f"{URL}?sslpassword=hidden")
    assert address.shown == "postgresql://user:***@db:5433/app?sslpassword=***"
    assert "secret" not in repr(address)
    assert "hidden" not in repr(address)


def failure_of(error: BaseException, url: str = URL) -> HotMeshError:
    address: Address = parse_address(url)
    return connect_failure(address, address.places[0], error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.InvalidPasswordError("password authentication failed"), BackendAccessError),
        (asyncpg.InvalidAuthorizationSpecificationError("no role"), BackendAccessError),
        (asyncpg.InvalidCatalogNameError("no database"), BackendAccessError),
        (asyncpg.InsufficientPrivilegeError("no CONNECT"), BackendAccessError),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), BackendAccessError),
        (ConnectionError("it rejected SSL upgrade"), BackendAccessError),
        (asyncpg.ProtocolViolationError("no such database: x"), BackendAccessError),
        (asyncpg.ProtocolViolationError("query_wait_timeout"), BackendUnavailableError),
        (ssl.SSLEOFError(8, "EOF"), BackendUnavailableError),
        (asyncpg.TooManyConnectionsError("too many clients"), BackendUnavailableError),
        (asyncpg.CannotConnectNowError("starting up"), BackendUnavailableError),
        (ConnectionRefusedError(), BackendUnavailableError),
        (TimeoutError(), BackendUnavailableError),
        (FileNotFoundError("root.crt"), InvalidArgumentError),
        (
            asyncpg.InvalidParameterValueError('invalid value for parameter "x"'),
            InvalidArgumentError,
        ),
        (asyncpg.ProtocolViolationError("unsupported startup parameter: x"), InvalidArgumentError),
    ],
)
def test_what_a_failure_to_connect_means(error: BaseException, kind: type[HotMeshError]) -> None:
    failure = failure_of(error)
    assert type(failure) is kind
    assert failure.__cause__ is error


def test_an_unknown_parameter_has_neighbours() -> None:
    unknown = 'unrecognized configuration parameter "Shema"'
    failure = failure_of(asyncpg.UndefinedObjectError(unknown))
    assert isinstance(failure, InvalidArgumentError)
    assert "'Shema'" in str(failure)
    assert "did you mean schema" in str(failure)


def test_a_socket_that_is_not_there_is_unavailable() -> None:
    url = "postgresql:///app?host=/run/nobody"
    assert isinstance(failure_of(FileNotFoundError("socket"), url), BackendUnavailableError)


def test_what_the_driver_says_of_a_secret_is_hidden() -> None:
    error = OSError("can't use user:secret@db")
    failure = failure_of(error)
    assert "secret" not in str(failure)
    assert failure.__cause__ is None


def test_lock_keys_and_channels_differ_by_schema_and_name() -> None:
    one, other = parse_address(URL), parse_address(f"{URL}?schema=other")
    assert one.lock_key("router", b"a") == parse_address(URL).lock_key("router", b"a")
    keys = {one.lock_key("router", b"a"), one.lock_key("router", b"b"), one.lock_key("queue", b"a")}
    assert len(keys | {other.lock_key("router", b"a")}) == 4
    assert all(-(2**63) <= key < 2**63 for key in keys)
    channels = {one.channel("lanes:1"), one.channel("lanes:2"), other.channel("lanes:1")}
    assert len(channels) == 3
    assert all(len(channel) < 63 for channel in channels)
