"""What memory is used and free, on the host and on the device; plan.py says what is needed."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

import psutil
import torch


def host_peak_bytes() -> int:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status")  # Linux's rusage counts what the parent had before exec
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def peaks(device: torch.device, held: int) -> dict[str, int]:
    """Peak bytes of host and device, and what of it was workspace beyond the `held` bytes.

    On a CPU everything is host memory, so the interpreter and its libraries count as workspace.
    """
    host = host_peak_bytes()
    if device.type != "cuda":
        return {"workspace_peak": max(0, host - held), "host_peak": host}
    peak = torch.cuda.max_memory_allocated(device)
    return {"workspace_peak": max(0, peak - held), "host_peak": host, "device_peak": peak}


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device now, other processes counted."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + idle  # what torch keeps for its next tensors
    return int(psutil.virtual_memory().available)


def give_back_freed() -> None:
    """Returns to the system what was freed here: glibc keeps up to 64 MB, as after loading."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
