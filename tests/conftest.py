"""Settings of all tests."""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does, before torch

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from quant.ops import dispatch

if not torch.cuda.is_available():  # kernels run by Triton's interpreter; before any is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

# The models of the tests are tiny: a second thread costs more than it brings, and on a busy
# machine the two wait for each other at every operation.
torch.set_num_threads(1)

# A run of the tests tells of the change, not of the draw: the same examples every time.
# New ones are looked for with `pytest --hypothesis-profile explore`.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", max_examples=2000)
settings.load_profile("repeatable")


@pytest.fixture
def fresh_dispatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What runs which operation is found out again, without JAMBA_KERNELS at first."""
    monkeypatch.delenv("JAMBA_KERNELS", raising=False)
    forget_dispatch()
    yield monkeypatch
    forget_dispatch()


def forget_dispatch() -> None:
    """After a change of what is picked by."""
    for cached in (dispatch._module, dispatch.choice, dispatch._setting):
        cached.cache_clear()
