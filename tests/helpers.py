"""What several tests share: tolerances, golden models, an engine in exact fp32."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from runtime.devices import EXACT
from runtime.engine import Engine

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_NAMES = (
    "default", "default-legacy", "odd", "odd-sharded", "dense-tied", "narrow", "options",
)  # fmt: skip

TOLERANCE = {
    torch.float32: (1e-4, 1e-4),
    torch.float16: (2e-2, 3e-3),
    torch.bfloat16: (2.5e-1, 4e-2),
}
"""Largest element-wise error over the reference's spread, and RMS error over its RMS."""


def assert_close(got: Tensor, wanted: Tensor, dtype: torch.dtype = torch.float32) -> None:
    """Fails with the largest and the mean error and where the largest is."""
    assert got.shape == wanted.shape, f"shape {tuple(got.shape)}, wanted {tuple(wanted.shape)}"
    error = (got.double() - wanted.double()).abs()
    assert bool(torch.isfinite(error).all()), "not finite"
    spread = wanted.double().std().item() or 1.0
    largest, rms = TOLERANCE[dtype]
    ratio = (error.square().mean().sqrt() / wanted.double().square().mean().sqrt()).item()
    place = int(error.argmax())
    report = (
        f"max {error.max().item():.3g} at {place}, mean {error.mean().item():.3g}, rms {ratio:.3g}"
    )
    assert error.max().item() <= largest * spread, report
    assert ratio <= rms, report


def golden(name: str) -> tuple[list[int], Tensor]:
    """Token ids [150] and the logits [150, v] of one full forward pass by transformers."""
    tensors = load_file(GOLDEN / name / "golden.safetensors")
    return tensors["input_ids"][0].tolist(), tensors["logits"]


def golden_engine(name: str) -> Engine:
    """A golden model in fp32 on the CPU."""
    return Engine.load(GOLDEN / name, device="cpu", precision=EXACT)


def sqnr_db(weight: Tensor, restored: Tensor) -> float:
    """Signal to quantization noise in dB."""
    noise = (weight - restored).double().square().sum()
    return float(10 * torch.log10(weight.double().square().sum() / noise))


def gaussian() -> Tensor:
    """A weight as layers are begun."""
    return torch.randn(256, 1536, generator=torch.Generator().manual_seed(0))


def heavy_tailed() -> Tensor:
    """Student's t with 4 degrees of freedom: outliers of 20 deviations."""
    g = torch.Generator().manual_seed(1)
    chi = torch.randn(4, 256, 1536, generator=g).square().sum(0)
    return torch.randn(256, 1536, generator=g) / (chi / 4).sqrt()


def divergence(wanted: Tensor, got: Tensor) -> Tensor:
    """KL divergence in nats of each token's distribution [l, v] -> [l]."""
    p, q = (logits.double().log_softmax(-1) for logits in (wanted, got))
    return (p.exp() * (p - q)).sum(-1)


@contextmanager
def never_waiting() -> Iterator[None]:
    """Whatever would wait for the GPU fails."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
