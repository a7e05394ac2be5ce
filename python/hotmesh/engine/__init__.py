"""User code runs here: the deterministic loop, one run, its context."""
