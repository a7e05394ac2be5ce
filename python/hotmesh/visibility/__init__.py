"""What is asked of a list of runs: a query is read into a tree, which each backend compiles."""

from hotmesh.visibility.names import check_names
from hotmesh.visibility.query import Query, parse_query
from hotmesh.visibility.tree import AllOf, AnyOf, AttributeIs, Condition, Field, FieldIs, all_of

__all__ = [
    "AllOf",
    "AnyOf",
    "AttributeIs",
    "Condition",
    "Field",
    "FieldIs",
    "Query",
    "all_of",
    "check_names",
    "parse_query",
]
