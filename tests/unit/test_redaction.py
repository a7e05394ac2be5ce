"""Nothing secret of a URL is ever shown."""

import pytest

from hotmesh.redaction import Redaction, shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:secret@h1:5432,h2/db?a=b", "postgresql://me:***@h1:5432,h2/db?a=b"),
        ("redis://:secret@host/0", "redis://:***@host/0"),
        ("redis://host/0?password=secret&db=1", "redis://host/0?password=***&db=1"),
        (
            "redis+sentinel://h/s?sentinel_password=secret",
            "redis+sentinel://h/s?sentinel_password=***",
        ),
        ("postgresql://db/app?sslpassword=secret", "postgresql://db/app?sslpassword=***"),
        ("nats://secret@host:4222", "nats://***@host:4222"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql:///app?host=/run/pg", "postgresql:///app?host=/run/pg"),
        ("postgresql://host/db?application_name=a@b", "postgresql://host/db?application_name=a@b"),
        ("me:secret@host", "me:***@host"),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert "secret" not in repr(Redaction(url))


@pytest.mark.parametrize(
    "password", ["se/cret", "se?cret", "se#cret", "se@cret", "se:cret", "5/cret"]
)
def test_a_password_that_should_have_been_encoded_is_not_shown(password: str) -> None:
    shown = shown_url(f"postgresql://me:{password}@host/db")
    assert "cret" not in shown
    assert shown.startswith("postgresql://me:***@")


@pytest.mark.parametrize(
    "text", ["p@ss wörd", "p%40ss%20w%C3%B6rd", "p%40ss+w%C3%B6rd", "it was p@ss wörd, you know"]
)
def test_every_spelling_is_hidden(text: str) -> None:
    redaction = Redaction("redis://me:p%40ss%20w%C3%B6rd@host")
    assert "ss" not in redaction.hide(text)


def test_a_short_password_is_hidden_where_it_stands_alone() -> None:
    redaction = Redaction("redis://me:a@host")
    assert redaction.hide("a password: a") == "*** password: ***"
    assert redaction.hide("database") == "database"


def test_an_error_that_tells_a_secret_is_no_cause() -> None:
    redaction = Redaction("redis://me:secret@host")
    behind = ValueError("me:secret@host")
    error = OSError("cut off")
    error.__context__ = behind
    failure = RuntimeError("no")
    redaction.because(failure, error)
    assert failure.__cause__ is None
    error.__context__ = None
    redaction.because(failure, error)
    assert failure.__cause__ is error
