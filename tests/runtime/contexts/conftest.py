"""A tiny model, its ids, and a store in a folder of its own."""

from __future__ import annotations

import pytest

from runtime.contexts import ContextStore, checkpoints
from tests.helpers import golden, golden_engine


@pytest.fixture(scope="session")
def engine():
    return golden_engine("default")


@pytest.fixture(scope="session")
def ids():
    return golden("default")[0]


@pytest.fixture
def store(tmp_path):
    return ContextStore(tmp_path / "contexts")


@pytest.fixture(autouse=True)
def many_checkpoints(monkeypatch):
    """Tiny prompts get as many checkpoints as the distance allows."""
    monkeypatch.setattr(checkpoints, "FEWEST", 1_000)
