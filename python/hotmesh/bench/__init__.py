"""`hotmesh bench`: how fast the engine is on a database, measured from outside like pgbench.

A measurement is a client process that starts workflows and waits for their results (`driving`,
run by `client`), and worker processes that run them (`worker`, spoken to through `fleet`).
`meters` reads what the database counts, `processes` what the system counts; `report` makes a
table of it; `command` is the command line. The client and the workers are spawned, so that each
takes the core (Rust or Python) that is asked for.
"""
