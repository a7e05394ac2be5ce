"""What a Redis URL says."""

import traceback

import pytest
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from hotmesh.backends.redis import RedisBackend
from hotmesh.backends.redis.link import Node
from hotmesh.backends.redis.url import parse_url
from hotmesh.backends.registry import backend_for
from hotmesh.exceptions import InvalidArgumentError


def test_a_server() -> None:
    url = parse_url("redis://me:s%40cret@host:7000/3?prefix=p&socket_timeout=5&client_name=c")
    assert url.seeds == (Node("host", 7000),)
    assert (url.prefix, url.service, url.connection_class) == ("p", "", Connection)
    options = dict(url.options)
    assert (options["username"], options["password"], options["db"]) == ("me", "s@cret", 3)
    assert (options["socket_timeout"], options["client_name"]) == (5.0, "c")
    assert "cret" not in repr(url)


def test_defaults() -> None:
    url = parse_url("redis://host")
    assert (url.seeds, url.prefix) == ((Node("host", 6379),), "hotmesh")
    assert url.options["socket_timeout"] == 30.0


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("redis://h1:7000,h2:7001,h3/0", (Node("h1", 7000), Node("h2", 7001), Node("h3", 6379))),
        ("valkey://host", (Node("host", 6379),)),
        ("redis://[::1]:7000", (Node("::1", 7000),)),
        ("redis:///0", (Node("localhost", 6379),)),
        ("redis+sentinel://h1,h2:7/mine/2", (Node("h1", 26379), Node("h2", 7))),
        ("unix:///run/redis.sock?db=2", (Node("/run/redis.sock", 0),)),
        ("redis+socket:///run/redis.sock", (Node("/run/redis.sock", 0),)),
    ],
)
def test_where_to_look(text: str, seeds: tuple[Node, ...]) -> None:
    assert parse_url(text).seeds == seeds
    assert isinstance(backend_for(text), RedisBackend)


def test_how_to_connect() -> None:
    assert parse_url("rediss://host").connection_class is SSLConnection
    assert parse_url("valkeys://host").connection_class is SSLConnection
    assert parse_url("unix:///run/r.sock").connection_class is UnixDomainSocketConnection
    assert parse_url("unix:///run/r.sock?db=2").options["db"] == 2
    assert "path" not in parse_url("unix:///run/r.sock").options


@pytest.mark.parametrize(
    "text",
    [
        "redis+sentinel://u:p@h/mine/2?sentinel_password=x",
        "redis+sentinel://u:p@h/2?service=mine&sentinel_password=x",
        "redis-sentinel://u:p@h/2?sentinel_password=x#mine",
        "valkey+sentinel://u:p@h/mine?db=2&sentinel_password=x",
    ],
)
def test_sentinels(text: str) -> None:
    url = parse_url(text)
    assert (url.service, url.options["db"], url.options["password"]) == ("mine", 2, "p")
    assert url.sentinel_options["password"] == "x"
    assert "db" not in url.sentinel_options
    assert "username" not in url.sentinel_options


def test_sentinels_with_tls_are_spoken_to_in_the_same_way() -> None:
    url = parse_url("rediss+sentinel://h/mine?ssl_cert_reqs=none")
    assert url.connection_class is SSLConnection
    assert url.sentinel_options["ssl_cert_reqs"] == "none"


@pytest.mark.parametrize(
    "query",
    [
        "max_connections=10", "decode_responses=true", "protocol=3", "retry_on_timeout=1",
        "timeout=5", "encoding=latin1", "ssl=true", "ssl_cert_reqs=none", "db=x", "db=1&db=2",
        "service=mine", "sentinel_password=x", "host=h", "retry=1", "no_such_option=1",
        "socket_timeout=soon", "connection_class=x", "db=-1", "db=99999999999999999999",
        "socket_timeout=0", "socket_timeout=-1", "socket_timeout=nan", "socket_timeout=1e-9",
        "socket_timeout=inf", "socket_timeout=", "socket_connect_timeout=0",
        "socket_connect_timeout=nan", "socket_connect_timeout=1e300", "health_check_interval=-1",
        "health_check_interval=0.5", "socket_read_size=0", "socket_read_size=-1",
        "socket_read_size=99999999999999999999", "username=other", "password=other",
    ],
)  # fmt: skip
def test_what_can_not_be_honoured_is_refused_by_name(query: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_url(f"redis://me:secret@host?{query}")
    assert query.partition("=")[0] in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_number_that_can_not_work_is_not_passed_on_to_look_like_an_absent_server() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'0' is no number from 0\.001 to 86,400"):
        parse_url("redis://host?socket_timeout=0")
    with pytest.raises(InvalidArgumentError, match=r"'1\.5' is no whole number from 64"):
        parse_url("redis://host?socket_read_size=1.5")
    url = parse_url("redis://host?socket_timeout=0.5&health_check_interval=0&db=3")
    assert (url.options["socket_timeout"], url.options["db"]) == (0.5, 3)


def test_an_unknown_parameter_has_neighbours() -> None:
    with pytest.raises(InvalidArgumentError, match="did you mean socket_timeout"):
        parse_url("redis://host?Socket_Timeout=1")
    with pytest.raises(InvalidArgumentError, match=r"did you mean .*prefix"):
        parse_url("redis://host?prefx=1")


@pytest.mark.parametrize(
    "text",
    [
        "redis://h:bad", "redis://h/0/1x", "redis://u:se@cret@h", "redis://u:se/cret@h",
        "redis://u:se#cret@h", "redis+sentinel://h/0", "redis+sentinel://h/a/b/c", "unix://h/x",
        "unix://", "redis://h#x",
    ],
)  # fmt: skip
def test_what_is_no_url_is_not_repeated(text: str) -> None:
    if text == "redis+sentinel://h/0":
        assert parse_url(text).service == "0"  # a name like any other
        return
    with pytest.raises(InvalidArgumentError) as caught:
        parse_url(text)
    said = "".join(traceback.format_exception(caught.value))
    assert "cret" not in said.partition("InvalidArgumentError")[2]


@pytest.mark.parametrize(
    "query",
    ["ssl_ca_certs=/no/such/file", "ssl_cert_reqs=sometimes", "ssl_min_version=TLSv1_2",
     "ssl_keyfile=/no/such/key", "ssl_ca_data=x", "ssl_include_verify_flags=NONE"],
)  # fmt: skip
def test_what_redis_py_can_not_use_is_refused_by_name(query: str) -> None:
    name = query.partition("=")[0]
    with pytest.raises(InvalidArgumentError, match=f"'{name}' in the Redis URL: it can't be used"):
        parse_url(f"rediss://host?client_name=me&{query}&db=1")


def test_two_parameters_that_can_not_be_used_are_refused_together() -> None:
    with pytest.raises(InvalidArgumentError, match="a parameter of the Redis URL can't be used"):
        parse_url("rediss://host?ssl_ca_certs=/no/such/file&ssl_cert_reqs=sometimes")
