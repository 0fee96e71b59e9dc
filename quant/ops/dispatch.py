"""Which implementation of an operation runs, by the device.

An operation's package holds `reference` and may hold others with functions of the same names and
signatures: `cpu` and `cuda`, written with PyTorch for that device, and `kernel`, written in Triton
for NVIDIA GPUs.  JAMBA_KERNELS=reference leaves a GPU with the references, to compare or to work
around one; JAMBA_KERNELS=triton runs the kernels wherever the tensors are, which on a CPU is for
Triton's interpreter; JAMBA_KERNELS=mamba-ssm has that library's scan read the first chunk on a GPU.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from functools import cache
from importlib import import_module
from typing import Any

import torch

logger = logging.getLogger(__name__)

TRITON, MAMBA_SSM = "triton", "mamba-ssm"
REFERENCE, KERNEL, CPU, CUDA = "reference", "kernel", "cpu", "cuda"
LIBRARY = "mamba_ssm"


def implementation(package: str, device: torch.device) -> Any:
    """The module that computes `package`'s operation on a device."""
    return _module(package, device.type)


@cache  # decode asks some hundred times a token; and a slow path is told once
def _module(package: str, device_type: str) -> Any:
    name = choice(package, device_type)
    lacks = name == REFERENCE and device_type == "cuda" and _has(package, KERNEL)
    if lacks and _setting() != REFERENCE:
        logger.warning("%s runs without its kernel, slowly: pip install triton", package)
    return import_module(f"{package}.{name}")


@cache
def choice(package: str, device_type: str) -> str:
    """The name of that module."""
    gpu, setting = device_type == "cuda", _setting()
    if gpu and setting == REFERENCE:
        return REFERENCE
    if gpu and setting == MAMBA_SSM and _has(package, LIBRARY):
        if importlib.util.find_spec("selective_scan_cuda") is not None:
            return LIBRARY
        logger.warning("JAMBA_KERNELS=mamba-ssm is ignored: pip install 'jamba-cli[cuda]' has it")
    wanted = (gpu or setting == TRITON) and _has(package, KERNEL)
    if wanted and importlib.util.find_spec("triton") is not None:
        return KERNEL
    own = CUDA if gpu else CPU if device_type == "cpu" else REFERENCE
    return own if _has(package, own) else REFERENCE


@cache
def _setting() -> str | None:
    setting = os.environ.get("JAMBA_KERNELS")
    if setting in (None, "", REFERENCE, TRITON, MAMBA_SSM):
        return setting
    logger.warning("JAMBA_KERNELS=%s is ignored: it may be reference, triton or mamba-ssm", setting)
    return None


def _has(package: str, name: str) -> bool:
    return importlib.util.find_spec(f"{package}.{name}") is not None
