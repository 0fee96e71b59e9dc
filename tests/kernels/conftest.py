"""Where kernels are tested: by Triton's interpreter on the CPU, compiled where there is a GPU."""

from __future__ import annotations

import pytest
import torch

triton = pytest.importorskip("triton")

import triton.language as tl  # noqa: E402
from triton.runtime.errors import InterpreterError  # noqa: E402

HERE = torch.cuda.is_available()


@triton.jit
def _loop(x_ptr, n, STEP: tl.constexpr):
    for i in range(0, n, STEP):
        tl.store(x_ptr + i, 1.0)


def not_interpreted() -> str:
    """Why kernels are not interpreted here; empty if they are."""
    if HERE:
        return "kernels are compiled, not interpreted"
    try:
        _loop[(1,)](torch.zeros(4), 4, STEP=1)
    except InterpreterError:
        return "this triton's interpreter can't count loops with this numpy"
    return ""


NOT_INTERPRETED = not_interpreted()


@pytest.fixture(
    params=[
        pytest.param(
            "cpu", marks=pytest.mark.skipif(bool(NOT_INTERPRETED), reason=NOT_INTERPRETED)
        ),
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not HERE, reason="no CUDA device")]
        ),
    ]
)
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device whose kernels are tested."""
    return torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtype of activations."""
    chosen: torch.dtype = request.param
    return chosen
