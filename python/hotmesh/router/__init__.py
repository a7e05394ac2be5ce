"""The loop that owns lanes, advances workflows and commits. Knows no SQL.

Reading order: ``router`` (what a worker starts), ``rollcall`` (which lanes are ours), ``pipe``
(read, advance, commit), ``loading`` and ``effects`` (runs in, commands out), ``tasks`` (activities
from the queue).
"""
