"""When and how matrix-vector products go by tensor cores."""

from __future__ import annotations

from functools import cache

import torch
import triton
from torch import Tensor
from triton.runtime.jit import JITFunction

from quant.ops.gemv.nf4_kernel import gemv_nf4_bf16_kernel, pairs
from quant.ops.gemv.row_kernel import gemv_row_kernel
from quant.ops.overlap_kernel import overlap

Settings = dict[int, tuple[int, int]]

SETTINGS: Settings = {
    3000: (4, 2), 1500: (4, 4), 900: (2, 2), 600: (4, 4), 500: (8, 4), 257: (4, 4), 0: (8, 8),
}  # fmt: skip
"""Warps a program, and those of them that share a tile along k, by the least number of tiles; as
measured on an H100 with the shapes of a Jamba Mini and of the 3B, which
`tests.benchmarks.tune_gemv` repeats."""

SETTINGS_OF: dict[torch.dtype, Settings] = {
    torch.float8_e4m3fn: SETTINGS | {3000: (4, 4)},
    torch.uint8: SETTINGS | {3000: (4, 1), 1500: (4, 1), 900: (4, 2)},
}
"""Where the codes want others: NF4's programs each fill a table first."""

RESIDENT = 64
"""Programs for a multiprocessor at the most; beyond, each takes tile after tile."""

GROUP = 64


def fits(x: Tensor, codes: Tensor, scale: Tensor | None) -> bool:
    """Whether the kernels can take these: bf16 in whole pieces of 16 aligned bytes a lane."""
    k = x.shape[1]
    packed = 2 * codes.shape[-1] == k
    known = codes.dtype in (torch.int8, torch.float8_e4m3fn, torch.bfloat16, torch.uint8)
    if x.dtype != torch.bfloat16 or not known or not _capable(x.device):
        return False
    whole = k % (4 * GROUP) == 0 if packed else k * codes.element_size() % 64 == 0
    tensors = (x, codes, scale) if packed and scale is not None else (x, codes)
    aligned = all(tensor.data_ptr() % 16 == 0 for tensor in tensors)
    return whole and aligned and x.stride(1) == 1 and (x.shape[0] == 1 or x.stride(0) % 8 == 0)


def launch(
    x: Tensor, codes: Tensor, scale: Tensor | None, experts: Tensor | None, y: Tensor, *, gate: bool
) -> None:
    """x [s, k] by codes [n, k], or by experts' [x, n, k], into y [s, n], or [s, n/2] if gated."""
    (s, k), n = x.shape, codes.shape[-2]
    packed = 2 * codes.shape[-1] == k
    across = triton.cdiv(y.shape[1], 8 if gate else 16)
    tiles = s * across
    settings = SETTINGS_OF.get(codes.dtype, SETTINGS)
    warps, split = next(each for least, each in settings.items() if tiles >= least)
    step = split * (4 * GROUP if packed else 128 // codes.element_size())
    programs = min(triton.cdiv(tiles * split, warps), RESIDENT * _multiprocessors(x.device))
    common: dict[str, int] = {
        "EXPERTS": experts is not None,
        "GATE": gate,
        "EVEN": k % step == 0,
    }
    common |= {"WARPS": warps, "SPLIT": split, "num_warps": warps, **overlap(x.device)}
    if packed:
        table = pairs(x.device)
        gemv_nf4_bf16_kernel[(programs,)](
            x, codes, scale, table, experts, y, s, n, k, x.stride(0), **common
        )
    else:
        gemv_row_kernel[(programs,)](
            x, codes, scale, experts, y, s, n, k, x.stride(0),
            SCALED=scale is not None,
            **common,
        )  # fmt: skip


@cache
def _capable(device: torch.device) -> bool:
    if not isinstance(gemv_row_kernel, JITFunction):
        return False  # the interpreter knows no instructions
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 0)


@cache
def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 132  # only compiled, for an H100
    return torch.cuda.get_device_properties(device).multi_processor_count
