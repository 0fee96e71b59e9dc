"""Which implementation of an operation runs: its kernel on a GPU, else its reference.

An operation's package holds `reference` and may hold `kernel`, with functions of the same names
and signatures.  JAMBA_KERNELS=reference turns the kernels off, to compare or to work around one.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

logger = logging.getLogger(__name__)


def implementation(package: str, device: torch.device) -> Any:
    """The module that computes `package`'s operation on a device."""
    name = "kernel" if device.type == "cuda" and _has_kernel(package) else "reference"
    return import_module(f"{package}.{name}")


@cache
def _has_kernel(package: str) -> bool:
    if os.environ.get("JAMBA_KERNELS") == "reference" or find_spec(f"{package}.kernel") is None:
        return False
    if find_spec("triton") is not None:
        return True
    logger.warning("%s runs without its kernel, slowly: pip install triton", package)
    return False
