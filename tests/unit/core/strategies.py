"""Random events and arrays."""

from typing import Any

from hypothesis import strategies as st

from hotmesh.core import kinds

i64 = st.integers(-(2**63), 2**63 - 1)
seqs = st.one_of(st.integers(0, 12), st.integers(0, 2**63 - 1))
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)

events = st.tuples(
    st.integers(0, 255),
    seqs,
    i64,
    names,
    st.binary(max_size=20),
    st.binary(max_size=300),
)
"""Any event that can be encoded."""

telling_events = st.tuples(
    st.sampled_from(sorted(kinds.NAMES)),
    st.integers(0, 5),
    st.sampled_from([0, 0, 1, 2, 7, -1, 5_000]),
    st.sampled_from(["", "a"]),
    st.sampled_from([b"", b"\x01", b"\x02", b"id"]),
    st.binary(max_size=3),
)
"""Events of known kinds about few sequence numbers, so that they often concern each other."""

BOOL, BYTEA, INT8, INT4, TEXT = 16, 17, 20, 23, 25
"""Object ids of types of Postgres."""

_elements: dict[int, st.SearchStrategy[Any]] = {
    BOOL: st.booleans(),
    BYTEA: st.binary(max_size=40),
    INT8: st.integers(-(2**63), 2**63 - 1),
    INT4: st.integers(-(2**31), 2**31 - 1),
    TEXT: st.text(max_size=20),
}

arrays = st.sampled_from(sorted(_elements)).flatmap(
    lambda element: st.tuples(
        st.just(element), st.lists(st.none() | _elements[element], max_size=20)
    )
)
"""(type of the elements, elements), nulls among them."""
