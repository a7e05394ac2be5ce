"""The whole system in one thread, on virtual time, with faults from a seed.

Real workers and clients of several processes, each with an event loop of its own, on one SQLite
database in memory. Requests and answers get lost, calls stall, processes pause and are killed,
event loops are held up, the database goes back a moment: the seed decides all of it, so that what a
seed finds can be looked at again and again.

- `clock`: virtual time and the randomness of a seed in place of the machine's.
- `loop`: an event loop that is turned by hand.
- `server`: the database, and the network between it and the processes.
- `process`: a simulated process with a client, and a worker if it has one.
- `world`: what happens when: turns loops, delivers calls, moves time on.
- `app`: workflows and activities whose results do not depend on faults.
- `grouped`: more of them, with groups of exceptions.
- `hauled`: one with large values, and limits so low that they are.
- `catalogue`: all of them, and what each comes to.
- `deputy`: a router's deputy, on a loop beside the one that it watches.
- `plan`: what clients do and which faults there are, made from a seed by the odds of a profile.
- `scenario`: plays a plan.
- `checks`: what must hold at the end.
- `mutants`: faults put back, each with the profile that finds it.
"""
