"""Settings of all tests."""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does, before torch

import torch

# The models of the tests are tiny: a second thread costs more than it brings, and on a busy
# machine the two wait for each other at every operation.
torch.set_num_threads(1)
