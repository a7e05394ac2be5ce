"""Measurements that take more than one run of `hotmesh bench`; `lines.py` runs them."""
