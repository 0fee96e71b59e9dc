"""What `jamba doctor` finds out about the machine; imports torch."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from jamba_cli.diagnosis import Check, has_nvidia_device
from jamba_cli.human import format_bytes
from runtime.devices import pick_device
from runtime.errors import UsageError

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_SLOW_CAPABILITIES = ("DEFAULT", "NO AVX")


def machine(device: str) -> Iterator[Check]:
    """Processor, memory, GPUs, and the device that a model would run on."""
    yield Check("machine", "system", f"{platform.system()} {platform.release()}")
    yield _processor()
    yield _threads()
    yield _products()
    yield _memory()
    yield from _gpus()
    try:
        yield Check("machine", "device", f"{pick_device(device)} ({device})")
    except UsageError as error:
        yield Check(
            "machine", "device", error.message, "broken", "--device auto takes what is there"
        )


def device_type(device: str) -> str:
    """The kind of device that a name stands for; "cpu" for one that is not there."""
    try:
        return pick_device(device).type
    except UsageError:
        return "cpu"


def _processor() -> Check:
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    capability = torch.backends.cpu.get_cpu_capability()
    slow = capability in _SLOW_CAPABILITIES
    advice = "no vector instructions that torch can use: reading takes many times longer"
    value = f"{name}, {capability}"
    return Check("machine", "processor", value, "slow" if slow else "ok", advice if slow else "")


def _threads() -> Check:
    threads = torch.get_num_threads()
    allowed = len(psutil.Process().cpu_affinity() or ()) if hasattr(os, "sched_getaffinity") else 0
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or threads
    usable = min(cores, allowed or cores)
    value = f"{threads} of {usable} cores"
    if threads >= usable:
        return Check("machine", "threads", value)
    setting = os.environ.get("OMP_NUM_THREADS")
    why = f"OMP_NUM_THREADS={setting} holds the others back" if setting else "torch uses fewer"
    return Check("machine", "threads", value, "slow", why)


def _products() -> Check:
    """The speed of a matrix product, which bounds the reading of a document on a CPU."""
    size, best_s = 768, float("inf")
    left, right = torch.rand(size, size), torch.rand(size, size)
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(left, right)
        best_s = min(best_s, time.perf_counter() - began)
    return Check("machine", "products", f"{2 * size**3 / best_s / 1e9:.0f} GFLOP/s in fp32 (CPU)")


def _memory() -> Check:
    memory = psutil.virtual_memory()
    value = f"{format_bytes(memory.total)}, {format_bytes(memory.available)} available"
    with contextlib.suppress(OSError, ValueError):
        limit = int(_CGROUP_LIMIT.read_text(encoding="ascii"))
        if limit < memory.total:
            value += f", this container is limited to {format_bytes(limit)}"
    return Check("machine", "memory", value)


def _gpus() -> Iterator[Check]:
    if torch.cuda.is_available():
        driver = _driver()
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            value = (
                f"{properties.name}, {format_bytes(properties.total_memory)}, "
                f"compute capability {properties.major}.{properties.minor}{driver}"
            )
            yield Check("machine", f"cuda:{index}", value)
    elif torch.backends.mps.is_available():
        yield Check("machine", "mps", "Apple GPU", "note", "--device mps uses it; untested")
    elif has_nvidia_device():
        built = torch.version.cuda
        advice = (
            "the driver may be too old or not running"
            if built
            else "this torch is built for CPUs: install the CUDA build of torch"
        )
        yield Check("machine", "GPU", "there, but torch can't use it", "slow", advice)
    else:
        yield Check("machine", "GPU", "none", "note", "models above 1B parameters are slow")


def _driver() -> str:
    try:
        import pynvml
    except ImportError:
        return ""
    try:
        pynvml.nvmlInit()
        return f", driver {pynvml.nvmlSystemGetDriverVersion()}"
    except pynvml.NVMLError:
        return ""
