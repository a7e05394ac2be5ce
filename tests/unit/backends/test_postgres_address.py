"""What a Postgres URL says."""

import pytest

from hotmesh.backends.postgres.address import parse_address
from hotmesh.exceptions import InvalidArgumentError

URL = "postgresql://user:secret@db:5433/app"


def test_our_parameters_are_kept_from_the_driver() -> None:
    address = parse_address(f"{URL}?schema=mesh&sslmode=require&pooler=1")
    assert address.dsn == f"{URL}?sslmode=require"
    assert address.schema == "mesh"
    assert address.pooler is True


def test_defaults() -> None:
    address = parse_address(URL)
    assert (address.dsn, address.schema, address.pooler) == (URL, "hotmesh", None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "postgresql://user:***@db:5433/app"),
        ("postgresql://db/app", "postgresql://db/app"),
        ("postgresql://db/app?password=secret", "postgresql://db/app?password=***"),
        ("postgresql:///app?host=/run/pg", "postgresql:///app?host=/run/pg"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert parse_address(url).shown == shown


@pytest.mark.parametrize(
    "query", ["schema=", "schema=My", "schema=a;b", f"schema={'a' * 49}", "schema=1a", "pooler=yes"]
)
def test_values_that_can_not_be_used_are_refused(query: str) -> None:
    with pytest.raises(InvalidArgumentError, match=query.partition("=")[0]):
        parse_address(f"{URL}?{query}")


def test_a_port_is_a_number() -> None:
    with pytest.raises(InvalidArgumentError, match=r"not a Postgres URL.*'bad'"):
        parse_address("postgresql://db:bad/app")


def test_lock_keys_and_channels_differ_by_schema_and_name() -> None:
    one, other = parse_address(URL), parse_address(f"{URL}?schema=other")
    assert one.lock_key("router", b"a") == parse_address(URL).lock_key("router", b"a")
    keys = {one.lock_key("router", b"a"), one.lock_key("router", b"b"), one.lock_key("queue", b"a")}
    assert len(keys | {other.lock_key("router", b"a")}) == 4
    assert all(-(2**63) <= key < 2**63 for key in keys)
    channels = {one.channel("lanes:1"), one.channel("lanes:2"), other.channel("lanes:1")}
    assert len(channels) == 3
    assert all(len(channel) < 63 for channel in channels)
