"""Settings of all tests."""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does, before torch

import torch
from hypothesis import settings

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
