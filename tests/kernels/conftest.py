"""Where kernels are tested: by Triton's interpreter on the CPU, compiled where there is a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

HERE = torch.cuda.is_available()


def not_interpreted() -> str:
    """Why kernels are not interpreted here; empty if they are."""
    if HERE:
        return "kernels are compiled, not interpreted"
    try:
        from triton.runtime.errors import InterpreterError

        from tests.kernels.counting import count
    except ImportError:
        return "no triton"
    try:
        count(4)
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


@pytest.fixture
def rounded_fp8(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter rounds to fp8 as a GPU does; its own way does not carry to the exponent.

    What is compiled is left alone.
    """
    if NOT_INTERPRETED:
        return
    from triton import language
    from triton.runtime import interpreter

    own = interpreter._convert_float

    def convert(values: Any, source: Any, target: Any, mode: Any) -> Any:
        if (source, target) != (language.float32, language.float8e4nv):
            return own(values, source, target, mode)
        return torch.tensor(values).to(torch.float8_e4m3fn).view(torch.uint8).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", convert)
