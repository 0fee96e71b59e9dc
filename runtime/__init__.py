"""The runtime: load a Jamba model, read tokens chunk by chunk, generate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.cache import HybridCache
    from runtime.config import JambaConfig
    from runtime.engine import Engine
    from runtime.sampling import SamplingParams

__all__ = ["Engine", "HybridCache", "JambaConfig", "SamplingParams"]

_HOMES = {
    "Engine": "runtime.engine",
    "HybridCache": "runtime.cache",
    "JambaConfig": "runtime.config",
    "SamplingParams": "runtime.sampling",
}


def __getattr__(name: str) -> Any:
    """Imports on first use, so that `jamba --help` does not import torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
