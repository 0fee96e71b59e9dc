"""What the kernels of matrix-vector products share."""

from __future__ import annotations

import triton
import triton.language as tl

READ = tl.constexpr("ld.global.v2.b64 {$0, $1}, [$2];")

STREAM = tl.constexpr(
    "{ .reg .pred p; .reg .b64 v<2>; setp.ne.b32 p, $3, 0;"
    " @p ld.global.L1::no_allocate.v2.b64 {v0, v1}, [$2]; mov.b64 $0, v0; mov.b64 $1, v1; }"
)
"""16 bytes that are read once, anything if $3 is zero."""

STREAM_OR_ZERO = tl.constexpr(STREAM.value.replace("setp", "mov.b64 v0, 0; mov.b64 v1, 0; setp", 1))

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def gated(gate, up):
    """silu(gate) * up in fp32: both were rounded as two products would have been."""
    gate = gate.to(tl.float32)
    return gate / (1.0 + tl.exp2(-gate * LOG2E)) * up.to(tl.float32)


@triton.jit
def values(place):
    """16 bytes that will be read again."""
    return tl.inline_asm_elementwise(
        READ, "=l,=l,l", [place.to(tl.int64)],
        dtype=(tl.int64, tl.int64), is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def codes(place, inside, EVEN: tl.constexpr):
    """16 bytes that are read once; where not inside zeros, or anything if EVEN."""
    return tl.inline_asm_elementwise(
        STREAM if EVEN else STREAM_OR_ZERO, "=l,=l,l,r",
        [place.to(tl.int64), inside.to(tl.int32)],
        dtype=(tl.int64, tl.int64), is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def places(sums, block, outputs, SPLIT: tl.constexpr, OUTPUTS: tl.constexpr, GATE: tl.constexpr):
    """Of a program's tiles: the two outputs of each lane, and whether it is the one to store them.

    sums has one value a thread; what is returned is for sums over the warps that share a tile.
    """
    PLACES: tl.constexpr = sums.shape[0] // (32 * SPLIT)
    place, lane = tl.arange(0, PLACES)[:, None], tl.arange(0, 32)[None]
    first = (block * PLACES + place) * OUTPUTS + lane // 4
    return first, first + (outputs if GATE else 8), lane % 4 == 0


@triton.jit
def over_warps(sums, SPLIT: tl.constexpr):
    """One value a thread, summed over the warps that share a tile: [tiles, 32]."""
    return tl.sum(tl.reshape(sums, [sums.shape[0] // (32 * SPLIT), SPLIT, 32]), 1)


@triton.jit
def store(y_place, a, b, first, second, here, after, GATE: tl.constexpr):
    """Writes two outputs a lane, or one of gate and up."""
    dtype: tl.constexpr = y_place.dtype.element_ty
    if GATE:
        y = gated(a.to(dtype), b.to(dtype))
        tl.store(y_place + first, y.to(dtype), mask=here)
    else:
        tl.store(y_place + first, a.to(dtype), mask=here)
        tl.store(y_place + second, b.to(dtype), mask=after)
