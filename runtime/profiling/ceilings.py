"""What the machine at hand can do at most, measured in the same run as what it did."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from quant.ops.matmul.scaled import ROWS, multiplies_fp8
from quant.schemes import SCHEMES
from runtime.bench import synchronize
from runtime.engine import Engine
from runtime.ops.linear import wide_dtype

_EXPONENTIALS = 16
"""That a multiprocessor's special function units make a clock, since Volta."""

_SECONDS = 0.3
"""How long each rate is measured: a GPU lowers its clock only after a while under load."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Rates a second: FLOP of 16-bit and of fp8 products, bytes copied, exponentials.

    A byte that is read and written again counts twice.  `fp8_flop` is that of 16 bits where the
    device has no fp8 units.  `clock_mhz` is the GPU's highest, 0 if it is not known: then
    `exponentials` is 0 too and the scan's ceiling is the bandwidth.
    """

    flop: float
    fp8_flop: float
    bytes: float
    exponentials: float
    clock_mhz: int = 0


@torch.inference_mode()
def measure_ceilings(engine: Engine, rows: int) -> Ceilings:
    """Measures the device with products of the model's own widths and up to `rows` rows."""
    config, device = engine.config, engine.device
    d, n = config.hidden_size, 2 * config.intermediate_size
    gpu = device.type == "cuda"
    dtype = engine.model.activation_dtype if gpu else wide_dtype()
    few = max(ROWS, min(rows, 8192 if gpu else 256) // ROWS * ROWS)
    x = torch.randn(few, d, device=device, dtype=dtype)
    weight = torch.randn(n, d, device=device, dtype=dtype)
    work = 2 * x.shape[0] * d * n
    flop = work / _seconds(lambda: functional.linear(x, weight), device)
    in_fp8 = gpu and multiplies_fp8(device) and not any(side % ROWS for side in (n, d))
    fp8 = work / _fp8_seconds(x, weight) if in_fp8 else flop
    source = torch.ones(1 << (28 if gpu else 26), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() / _seconds(lambda: target.copy_(source), device)
    clock = _highest_clock_mhz(device) if gpu else 0
    return Ceilings(flop, fp8, copied, _exponentials(device, clock), clock)


def _fp8_seconds(x: torch.Tensor, weight: torch.Tensor) -> float:
    codes, rows = SCHEMES["fp8"].quantize(weight), SCHEMES["fp8"].quantize(x)
    return _seconds(
        lambda: torch._scaled_mm(
            rows.codes,
            codes.codes.t(),
            scale_a=rows.scale[:, None],
            scale_b=codes.scale[None],
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        ),
        x.device,
    )


def _exponentials(device: torch.device, clock_mhz: int) -> float:
    """Exponentials a second: a GPU's by its units and clock, a CPU's as measured."""
    if device.type == "cuda":
        count = torch.cuda.get_device_properties(device).multi_processor_count
        return float(_EXPONENTIALS * count * clock_mhz * 1_000_000)
    values = torch.rand(1 << 18)
    return values.numel() / _seconds(lambda: torch.exp(values), device)


def _highest_clock_mhz(device: torch.device) -> int:
    command = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    chosen = [] if uuid is None else [f"--id=GPU-{uuid}"]
    try:
        done = subprocess.run([*command, *chosen], capture_output=True, text=True, check=True)
        return int(done.stdout.split()[0])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return 0


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The best of batches that go on for a while: a ceiling is what nothing disturbed."""
    work()
    once = _batch(work, 1, device)
    count = max(1, int(0.02 / max(once, 1e-7)))
    batches: list[float] = []
    until = time.perf_counter() + _SECONDS
    while not batches or time.perf_counter() < until:
        batches.append(_batch(work, count, device))
    return min(batches)


def _batch(work: Callable[[], object], count: int, device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    for _ in range(count):
        work()
    synchronize(device)
    return (time.perf_counter() - started) / count
