"""`jamba bench`."""

from __future__ import annotations

from jamba_cli import options
from runtime.errors import JambaError


def bench(json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Not built yet."""
    raise JambaError("bench is not built yet")
