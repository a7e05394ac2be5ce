"""Of which journal rows a session has to look up whether they come next."""

import pytest

from hotmesh.backends import written
from hotmesh.backends.written import WrittenJournals

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


def test_a_first_row_is_looked_up_and_of_what_follows_only_the_newest() -> None:
    journals = WrittenJournals()
    assert journals.unsure([], []) == ((), ())
    assert journals.unsure([A, B], [0, 4]) == ([A, B], [0, 4])
    journals.wrote([A, B], [0, 4], [])
    assert journals.unsure([B, A], [5, 1]) == ([B], [5])
    assert journals.unsure([A, C], [1, 0]) == ([C, B], [0, 5])
    journals.wrote([A], [1], [])
    assert journals.unsure([B], [5]) == ([A], [2])
    journals.wrote([], [], [])
    assert journals.unsure([A], [2]) == ([A], [2])


@pytest.mark.parametrize("seq", [0, 3, 5, 6])
def test_a_row_that_does_not_follow_is_looked_up(seq: int) -> None:
    journals = WrittenJournals()
    journals.wrote([A], [3], [])
    assert journals.unsure([A], [seq]) == ([A], [seq])


def test_the_last_of_several_rows_of_a_run_counts() -> None:
    journals = WrittenJournals()
    journals.wrote([A, B, A], [0, 0, 1], [])
    assert journals.unsure([A], [2]) == ([A], [2])
    assert journals.unsure([A, A], [2, 3]) == ([A, A], [3, 2])


def test_a_closed_run_and_all_that_is_forgotten_are_looked_up() -> None:
    journals = WrittenJournals()
    journals.wrote([A, B], [0, 0], [A, C])
    assert journals.unsure([A, B], [1, 1]) == ([A, B], [1, 1])
    journals.wrote([A, C], [0, 0], [])
    assert journals.unsure([A, B], [1, 1]) == ([C], [1])
    journals.forget()
    assert journals.unsure([A, B], [1, 1]) == ([A, B], [1, 1])


def test_what_the_newest_does_not_answer_for_is_looked_up() -> None:
    journals = WrittenJournals()
    journals.wrote([A, B], [0, 0], [])
    journals.wrote([C], [0], [C])  # written after B, but it is gone
    assert journals.unsure([A], [1]) == ([B], [1])
    journals.wrote([B, C], [1, 0], [B, C])
    assert journals.unsure([A], [1]) == ([A], [1])
    journals.wrote([A], [1], [])
    assert journals.unsure([A], [2]) == ([A], [2])


def test_not_more_journals_are_known_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(written, "JOURNALS_MAX", 2)
    journals = WrittenJournals()
    for run_id in (A, B, C):
        journals.wrote([run_id], [0], [])
    journals.wrote([A], [1], [])
    assert journals.unsure([A, B], [2, 1]) == ([B, A], [1, 2])
