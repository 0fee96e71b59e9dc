"""Saved contexts: what a model read once lies on disk, and the next run goes on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.contexts.records import (
    Collected,
    Context,
    Found,
    Identity,
    Mark,
    Match,
    Named,
    Planned,
    Prefilled,
    Segment,
)
from runtime.contexts.store import QUOTA_BYTES, ContextStore, context_id

if TYPE_CHECKING:
    from runtime.contexts.identity import identify
    from runtime.contexts.saved import MIN_TOKENS, planned, prefill_saved

__all__ = [
    "MIN_TOKENS",
    "QUOTA_BYTES",
    "Collected",
    "Context",
    "ContextStore",
    "Found",
    "Identity",
    "Mark",
    "Match",
    "Named",
    "Planned",
    "Prefilled",
    "Segment",
    "context_id",
    "identify",
    "planned",
    "prefill_saved",
]

_HOMES = {
    "MIN_TOKENS": "runtime.contexts.saved",
    "identify": "runtime.contexts.identity",
    "planned": "runtime.contexts.saved",
    "prefill_saved": "runtime.contexts.saved",
}


def __getattr__(name: str) -> Any:
    """Imports what needs torch on first use: listing contexts does without."""
    if name not in _HOMES:
        raise AttributeError(f"module 'runtime.contexts' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
