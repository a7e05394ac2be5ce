"""The package's version; `pyproject.toml` and `Cargo.toml` carry the same."""

from __future__ import annotations

__version__ = "0.1.0"
