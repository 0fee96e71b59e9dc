"""Where kernels are tested: by Triton's interpreter on the CPU, compiled where there is a GPU."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

HERE = torch.cuda.is_available()


@pytest.fixture(
    params=[
        pytest.param(
            "cpu", marks=pytest.mark.skipif(HERE, reason="kernels are compiled, not interpreted")
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
