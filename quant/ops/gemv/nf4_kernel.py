"""NF4 by bf16 on a GPU: pairs of codes looked up in shared memory, products by tensor cores.

With the arithmetic of the other schemes NF4 is bound by instructions, not by memory: a look-up, a
conversion and a product for each of twice as many weights a byte.  Here a byte is one look-up of
two weights, in a table that every lane has in its own bank, and a lane's 32 weights are four
instructions of the tensor cores, of whose eight columns one is needed: which is still the cheapest.
The levels are rounded to bf16, as weights are for products of many rows; sums are fp32, and so
are the scales.

Tensors here have one value a thread: thread t of quarter warp g has the bytes 8t ... 8t + 7 of a
group of row g of a tile, and of the row that is paired with it.  Source of the places in registers:
PTX ISA, "Matrix fragments for mma.m16n8k16".
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops import nf4
from quant.ops.gemv.kernel_parts import codes, over_warps, places, store
from quant.ops.overlap_kernel import wait_for_inputs

TABLE = tl.constexpr("{ .shared .align 128 .b8 nf4_pairs[32768]; mov.u32 $0, nf4_pairs; } // $1")
"""256 pairs for each of 32 lanes; its address in shared memory."""

FILL = tl.constexpr("{ st.shared.v4.b32 [$1], {$2, $2, $2, $2}; mov.b32 $0, 0; }")


VALUES = tl.constexpr(
    "{ .reg .pred p; .reg .b64 v<2>; setp.ne.b32 p, $3, 0; mov.b64 v0, 0; mov.b64 v1, 0;"
    " @p ld.global.v2.b64 {v0, v1}, [$2]; mov.b64 $0, v0; mov.b64 $1, v1; }"
)
"""Four values, zeros if $3 is."""

SCALES_16 = tl.constexpr(
    "{ .reg .b16 h<4>; ld.global.v4.b16 {h0, h1, h2, h3}, [$4];"
    " cvt.f32.f16 $0, h0; cvt.f32.f16 $1, h1; cvt.f32.f16 $2, h2; cvt.f32.f16 $3, h3; }"
)

SCALES_32 = tl.constexpr("ld.global.v4.f32 {$0, $1, $2, $3}, [$4];")


def _dot() -> str:
    """$0 ... $3 = a's and b's 32 codes by x's 32 values: a's sums of two groups, then b's.

    $4, $5 and $6, $7: codes of a and b; $8 ... $15: values; $16: the lane's place in the table.
    A lane has half a group, of which the first or the second is kept by zeros among the values.
    """
    lines = [".reg .b32 at, a<16>, b<16>, x<16>, u<4>, w<4>;", ".reg .f32 c<4>;"]
    lines += ["mov.b64 {u0, u1}, $4;", "mov.b64 {u2, u3}, $5;"]
    lines += ["mov.b64 {w0, w1}, $6;", "mov.b64 {w2, w3}, $7;"]
    lines += [f"mov.b64 {{x{2 * j}, x{2 * j + 1}}}, ${8 + j};" for j in range(8)]
    lines += [f"mov.f32 c{j}, 0f00000000;" for j in range(4)]
    sums = "{c0, c1, c2, c3}"
    for byte in range(16):
        for row, words in (("a", "u"), ("b", "w")):
            lines += [
                f"prmt.b32 at, {words}{byte // 4}, 0, 0x444{byte % 4};",
                "mad.lo.u32 at, at, 128, $16;",
                f"ld.shared.b32 {row}{byte}, [at];",
            ]
    for j in range(0, 16, 2):
        lines.append(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            f"{sums}, {{a{j}, b{j}, a{j + 1}, b{j + 1}}}, {{x{j}, x{j + 1}}}, {sums};"
        )
    lines += [f"mov.f32 ${j}, c{j};" for j in range(4)]
    return "{ " + "\n".join(lines) + " }"


DOT = tl.constexpr(_dot())
OPERANDS = tl.constexpr("=f,=f,=f,=f" + 12 * ",l" + ",r")


@triton.jit
def gemv_nf4_bf16_kernel(
    x_ptr, codes_ptr, scale_ptr, pairs_ptr, expert_ptr, y_ptr, s, n, k, x_stride,
    EXPERTS: tl.constexpr, GATE: tl.constexpr, EVEN: tl.constexpr, WARPS: tl.constexpr,
    SPLIT: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """A program: tiles of outputs, one after the other; SPLIT warps share those of a tile along k.

    EVEN: 4 * SPLIT groups divide k.
    """
    GROUP: tl.constexpr = 64
    PLACES: tl.constexpr = WARPS // SPLIT  # tiles at a time
    OUTPUTS: tl.constexpr = 8 if GATE else 16  # of a tile
    thread = tl.arange(0, 32 * WARPS)
    lane, warp = thread % 32, thread // 32
    g, t = lane // 4, lane % 4
    mine = ((g % 2) == (t // 2)).to(tl.int32)  # column g of the product is for half the lanes
    table = _table(pairs_ptr, thread, WARPS) + lane * 4
    outputs = n // 2 if GATE else n
    groups = k // GROUP
    wait_for_inputs(OVERLAP)
    tiles = tl.cdiv(outputs, OUTPUTS * PLACES)
    for tile in range(tl.program_id(0), s * tiles, tl.num_programs(0)):
        row_of_x, block = (tile % s).to(tl.int64), tile // s
        first = (block * PLACES + warp // SPLIT) * OUTPUTS + g
        second = first + (outputs if GATE else 8)
        stack = tl.load(expert_ptr + row_of_x).to(tl.int64) * n if EXPERTS else row_of_x * 0
        # Rows behind the last are the last again: their sums are not stored.
        a_row = stack + tl.minimum(first, outputs - 1)
        b_row = stack + tl.minimum(second, n - 1)
        a_place = codes_ptr + a_row * (k // 2) + t * 16
        b_place = codes_ptr + b_row * (k // 2) + t * 16
        x_place = x_ptr + row_of_x * x_stride + t * 32
        a_sum = tl.zeros([32 * WARPS], tl.float32)
        b_sum = tl.zeros([32 * WARPS], tl.float32)
        # A step's codes are on their way while those of the step before are looked up.
        at = warp % SPLIT * 4
        a0, a1, b0, b1 = _codes(a_place, b_place, at, groups)
        a2, a3, b2, b3 = _codes(a_place, b_place, at + 2, groups)
        for _ in range(0, groups, 4 * SPLIT):
            behind = at + 4 * SPLIT
            a4, a5, b4, b5 = _codes(a_place, b_place, behind, groups)
            a6, a7, b6, b7 = _codes(a_place, b_place, behind + 2, groups)
            here = tl.minimum(at, groups - 4)  # behind the end: the last scaled by zero
            a_scale = _scales(scale_ptr + a_row * groups + here)
            b_scale = _scales(scale_ptr + b_row * groups + here)
            early = _dots(a0, a1, b0, b1, x_place + here * GROUP, mine, table)
            late = _dots(a2, a3, b2, b3, x_place + (here + 2) * GROUP, mine, table)
            a_part = _scaled(early[0], early[1], late[0], late[1], a_scale)
            b_part = _scaled(early[2], early[3], late[2], late[3], b_scale)
            a_sum += a_part if EVEN else tl.where(at < groups, a_part, 0.0)
            b_sum += b_part if EVEN else tl.where(at < groups, b_part, 0.0)
            a0, a1, b0, b1, a2, a3, b2, b3 = a4, a5, b4, b5, a6, a7, b6, b7
            at = behind
        first, second, one = places(a_sum, block, outputs, SPLIT, OUTPUTS, GATE)
        store(
            y_ptr + row_of_x * outputs, over_warps(a_sum, SPLIT), over_warps(b_sum, SPLIT),
            first, second, one & (first < outputs), one & (second < n), GATE,
        )  # fmt: skip


@triton.jit
def _codes(a_place, b_place, group, groups):
    """Of two groups, if they are there."""
    a0, a1 = codes(a_place + group * 32, group < groups, True)
    b0, b1 = codes(b_place + group * 32, group < groups, True)
    return a0, a1, b0, b1


@triton.jit
def _dots(a0, a1, b0, b1, x_place, mine, table):
    """Products of two groups, before they are scaled."""
    x0, x1 = _values(x_place, mine)
    x2, x3 = _values(x_place + 8, mine)
    x4, x5 = _values(x_place + 16, mine)
    x6, x7 = _values(x_place + 24, mine)
    return tl.inline_asm_elementwise(
        DOT, OPERANDS, [a0, a1, b0, b1, x0, x1, x2, x3, x4, x5, x6, x7, table],
        dtype=(tl.float32, tl.float32, tl.float32, tl.float32), is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def _scaled(first, second, third, fourth, scale):
    return first * scale[0] + second * scale[1] + (third * scale[2] + fourth * scale[3])


@triton.jit
def _values(place, mine):
    return tl.inline_asm_elementwise(
        VALUES, "=l,=l,l,r", [place.to(tl.int64), mine],
        dtype=(tl.int64, tl.int64), is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def _scales(place):
    """Four scales, which lie side by side."""
    WIDE: tl.constexpr = place.dtype.element_ty == tl.float32
    return tl.inline_asm_elementwise(
        SCALES_32 if WIDE else SCALES_16, "=f,=f,=f,=f,l", [place.to(tl.int64)],
        dtype=(tl.float32, tl.float32, tl.float32, tl.float32), is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def _table(pairs_ptr, thread, WARPS: tl.constexpr):
    """Fills the table of pairs: each pair 32 times, lanes by turns so that banks don't collide."""
    table = tl.inline_asm_elementwise(
        TABLE, "=r,r", [thread], dtype=tl.int32, is_pure=False, pack=1
    )
    for start in tl.static_range(0, 256, 32 * WARPS):
        byte = (start + thread) % 256
        pair = tl.load(pairs_ptr + byte)
        for turn in tl.static_range(8):
            place = table + byte * 128 + (turn + thread) % 8 * 16
            tl.inline_asm_elementwise(
                FILL, "=r,r,r", [place, pair], dtype=tl.int32, is_pure=False, pack=1
            )
    tl.debug_barrier()
    return table


@cache
def pairs(device: torch.device) -> Tensor:
    """The two levels of each byte as bf16, the earlier in the low half; int32 [256]."""
    levels = torch.tensor(nf4.LEVELS).bfloat16()
    both = torch.stack((levels.repeat_interleave(16), levels.repeat(16)), -1)
    return both.view(torch.int32)[:, 0].to(device)
