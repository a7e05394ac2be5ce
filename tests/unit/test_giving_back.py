"""What large values took goes back to the system, whichever thread had it."""

import subprocess
import sys

from hotmesh import giving_back

COUNT, MIB = 64, 1024 * 1024

PROGRAM = """
import threading
from pathlib import Path

from hotmesh.giving_back import let_go

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def read():  # as another thread reads a journal, with something small between the rows
    for _ in range(COUNT):
        rows.append(b"r" * MIB)
        between.append(bytearray(2000))

bytes(8 * MIB)  # once a large value was freed, smaller ones are taken from the heap
rows, between, made = [], [], []
thread = threading.Thread(target=read)
thread.start()
thread.join()
before = status("VmRSS:")
while rows:
    made.append(bytearray(rows.pop()))
    let_go(MIB)
print((status("VmHWM:") - before) // MIB)
"""


def test_what_one_thread_has_read_does_not_stay_beside_what_another_makes_of_it() -> None:
    if giving_back._trim is None:
        return  # another C library: it keeps nothing
    program = f"COUNT, MIB = {COUNT}, {MIB}\n{PROGRAM}"
    grown = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert int(grown) < COUNT * 0.75
