"""Where the real entry point is, and the environment that the tests run it in."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRA = Path(__file__).with_name("extra_commands.py")


def hermetic_environ(home: Path, **extra: str) -> dict[str, str]:
    """An environment in which nothing of the user's is found, and no network is tried."""
    kept = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    return {
        **kept,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "HF_HOME": str(home / "hf"),
        "PYTHONPATH": str(ROOT),
        **extra,
    }
