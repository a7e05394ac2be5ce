"""Which tests of the core there are to run."""

from unit.core import cores

# The pure wheel has no extension to compare with.
collect_ignore = [] if cores.HAS_RUST else ["test_twins.py"]
