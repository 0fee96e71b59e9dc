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


def forget_peak(device: torch.device) -> None:
    """Begins a new peak of a GPU's memory; a host's can't be begun anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def device_peaks(device: torch.device) -> tuple[int, int] | None:
    """On a GPU the most bytes that tensors took and that the process held for them."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device now, other processes counted."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + idle  # what torch keeps for its next tensors
    return min(int(psutil.virtual_memory().available), _container_free_bytes())


CONTROL_GROUP = Path("/sys/fs/cgroup")


def _container_free_bytes() -> int:
    """What a container's limit leaves; the system's own count knows nothing of it."""
    try:
        limit = int((CONTROL_GROUP / "memory.max").read_text(encoding="ascii"))
        used = int((CONTROL_GROUP / "memory.current").read_text(encoding="ascii"))
        statistics = (CONTROL_GROUP / "memory.stat").read_text(encoding="ascii").split()
        cached = int(statistics[statistics.index("inactive_file") + 1])  # given up when needed
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return sys.maxsize
    return max(0, limit - used + cached)


def give_back_freed() -> None:
    """Returns to the system what was freed here: glibc keeps up to 64 MB, as after loading."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
