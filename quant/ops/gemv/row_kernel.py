"""int8, fp8 and bf16 by bf16 activations on a GPU: 16 bytes a lane, products by tensor cores.

Codes become pairs of bf16 by logic on whole registers, and a product of the tensor cores takes
the place of conversions and of multiplications lane by lane: two instructions a weight in the
place of five.  Seven of its eight columns are the same and not needed, which costs nothing.

Tensors here have one value a thread: thread t of quarter warp g has bytes 16t ... 16t + 15 of a
piece of row g of a tile, and of the row that is paired with it.  Source of the places in
registers: PTX ISA, "Matrix fragments for mma.m16n8k16".
"""

from __future__ import annotations

import triton
import triton.language as tl

from quant.ops.gemv.kernel_parts import codes, over_warps, places, store, values
from quant.ops.overlap_kernel import wait_for_inputs

HEAD = (
    "{ .reg .b32 p, q, e, o, a<4>, b<4>, u<4>, w<4>, x<8>; .reg .f32 c<4>;\n"
    "mov.b64 {u0, u1}, $2; mov.b64 {u2, u3}, $3; mov.b64 {w0, w1}, $4; mov.b64 {w2, w3}, $5;\n"
    "mov.f32 c0, $6; mov.f32 c1, $6; mov.f32 c2, $7; mov.f32 c3, $7;\n"
)
TAIL = "mov.f32 $0, c0; mov.f32 $1, c2; }"
"""$0, $1: sums of a and b; $2, $3 and $4, $5: their codes; $6, $7: sums so far; $8 ...: values."""


def _mma(a: str, b: str, more_a: str, more_b: str, x: str, more_x: str) -> str:
    return (
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {c0, c1, c2, c3}, "
        f"{{{a}, {b}, {more_a}, {more_b}}}, {{{x}, {more_x}}}, {{c0, c1, c2, c3}};\n"
    )


def _values(count: int) -> str:
    """x's values two a register, from registers of four."""
    return "".join(f"mov.b64 {{x{2 * j}, x{2 * j + 1}}}, ${8 + j};\n" for j in range(count))


def _int8() -> str:
    """c = (128 + its low seven bits) - (128 + its sign bit): both are exact in bf16."""
    text = HEAD + _values(4)
    for j in range(4):
        text += f"prmt.b32 e, x{2 * j}, x{2 * j + 1}, 0x5410;\n"  # bytes 0 and 2 of a register
        text += f"prmt.b32 o, x{2 * j}, x{2 * j + 1}, 0x7632;\n"  # bytes 1 and 3
        for row, word in (("a", f"u{j}"), ("b", f"w{j}")):
            text += f"shr.u32 p, {word}, 8;\n"
            for half, source in enumerate((word, "p")):
                low, sign = f"{row}{half}", f"{row}{half + 2}"
                text += f"lop3.b32 {low}, {source}, 0x007f007f, 0x43004300, 0xea;\n"
                text += f"lop3.b32 {sign}, {source}, 0x00800080, 0xc300c300, 0xea;\n"
        text += _mma("a0", "b0", "a1", "b1", "e", "o") + _mma("a2", "b2", "a3", "b3", "e", "o")
    return text + TAIL


def _fp8() -> str:
    """The bits of e4m3 are those of a bf16 that is smaller by 2^120; half of that is put on x."""
    text = HEAD + _values(4)
    for j in range(4):
        text += "mov.b32 o, 0x80008000;\n"  # -0
        for value in (f"x{2 * j}", f"x{2 * j + 1}"):
            text += f"fma.rn.bf16x2 {value}, {value}, q, o;\n"
        text += f"prmt.b32 e, x{2 * j}, x{2 * j + 1}, 0x5410;\n"
        text += f"prmt.b32 o, x{2 * j}, x{2 * j + 1}, 0x7632;\n"
        for row, word in (("a", f"u{j}"), ("b", f"w{j}")):
            for half, move, sign in ((0, "shl", "p"), (1, "shr", word)):
                text += f"{move}.b32 {row}{half}, {word}, 4;\n"
                text += f"and.b32 {row}{half}, {row}{half}, 0x07f007f0;\n"
                text += f"shl.b32 p, {word}, 8;\n" if half == 0 else ""
                text += f"lop3.b32 {row}{half}, {sign}, 0x80008000, {row}{half}, 0xea;\n"
        text += _mma("a0", "b0", "a1", "b1", "e", "o")
    return text.replace("mov.f32 c0, $6;", "mov.b32 q, 0x5d805d80; mov.f32 c0, $6;") + TAIL


def _bf16() -> str:
    text = HEAD + _values(2)
    for j in (0, 2):
        text += _mma(f"u{j}", f"w{j}", f"u{j + 1}", f"w{j + 1}", f"x{j}", f"x{j + 1}")
    return text + TAIL


INT8, FP8, BF16 = tl.constexpr(_int8()), tl.constexpr(_fp8()), tl.constexpr(_bf16())

FP8_UNIT = tl.constexpr(2.0**60)


@triton.jit
def gemv_row_kernel(
    x_ptr, codes_ptr, scale_ptr, expert_ptr, y_ptr, s, n, k, x_stride,
    SCALED: tl.constexpr, EXPERTS: tl.constexpr, GATE: tl.constexpr, EVEN: tl.constexpr,
    WARPS: tl.constexpr, SPLIT: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """A program: tiles of outputs, one after the other; SPLIT warps share those of a tile along k.

    EVEN: SPLIT steps of two pieces divide k.
    """
    KIND: tl.constexpr = codes_ptr.dtype.element_ty
    PIECE: tl.constexpr = 512 // KIND.primitive_bitwidth  # weights that four lanes have
    PLACES: tl.constexpr = WARPS // SPLIT  # tiles at a time
    OUTPUTS: tl.constexpr = 8 if GATE else 16  # of a tile
    thread = tl.arange(0, 32 * WARPS)
    lane, warp = thread % 32, thread // 32
    g, t = lane // 4, lane % 4
    outputs = n // 2 if GATE else n
    pieces = k // PIECE
    wait_for_inputs(OVERLAP)
    tiles = tl.cdiv(outputs, OUTPUTS * PLACES)
    for tile in range(tl.program_id(0), s * tiles, tl.num_programs(0)):
        row_of_x, block = (tile % s).to(tl.int64), tile // s
        first = (block * PLACES + warp // SPLIT) * OUTPUTS + g
        second = first + (outputs if GATE else 8)
        stack = tl.load(expert_ptr + row_of_x).to(tl.int64) * n if EXPERTS else row_of_x * 0
        # Rows behind the last are the last again: their sums are not stored.
        a_place = codes_ptr + (stack + tl.minimum(first, outputs - 1)) * k + t * (PIECE // 4)
        b_place = codes_ptr + (stack + tl.minimum(second, n - 1)) * k + t * (PIECE // 4)
        x_place = x_ptr + row_of_x * x_stride + t * (PIECE // 4)
        a_sum = tl.zeros([32 * WARPS], tl.float32)
        b_sum = tl.zeros([32 * WARPS], tl.float32)
        # A step's codes are on their way while those of the step before are multiplied.
        at = warp % SPLIT * 2
        a0, a1, a2, a3 = _two(a_place, at, pieces, EVEN, PIECE)
        b0, b1, b2, b3 = _two(b_place, at, pieces, EVEN, PIECE)
        for _ in range(0, pieces, 2 * SPLIT):
            behind = at + 2 * SPLIT
            a4, a5, a6, a7 = _two(a_place, behind, pieces, EVEN, PIECE)
            b4, b5, b6, b7 = _two(b_place, behind, pieces, EVEN, PIECE)
            # Behind the end codes are zeros, and the last values are read again.
            here, after = tl.minimum(at, pieces - 1), tl.minimum(at + 1, pieces - 1)
            a_sum, b_sum = _dots(a0, a1, b0, b1, a_sum, b_sum, x_place + here * PIECE, KIND)
            a_sum, b_sum = _dots(a2, a3, b2, b3, a_sum, b_sum, x_place + after * PIECE, KIND)
            a0, a1, b0, b1, a2, a3, b2, b3 = a4, a5, b4, b5, a6, a7, b6, b7
            at = behind
        a_total, b_total = over_warps(a_sum, SPLIT), over_warps(b_sum, SPLIT)
        first, second, one = places(a_sum, block, outputs, SPLIT, OUTPUTS, GATE)
        here, after = one & (first < outputs), one & (second < n)
        if SCALED:
            a_total *= _scale(scale_ptr + stack + first, here, KIND)
            b_total *= _scale(scale_ptr + stack + second, after, KIND)
        y_place = y_ptr + row_of_x * outputs
        store(y_place, a_total, b_total, first, second, here, after, GATE)


@triton.jit
def _two(place, at, pieces, EVEN: tl.constexpr, PIECE: tl.constexpr):
    """A step's codes of a row: two pieces, of which 16 bytes each are this lane's."""
    first, second = codes(place + at * PIECE, at < pieces, EVEN)
    third, fourth = codes(place + (at + 1) * PIECE, at + 1 < pieces, EVEN)
    return first, second, third, fourth


@triton.jit
def _scale(place, mask, KIND: tl.constexpr):
    scale = tl.load(place, mask=mask, other=0.0)
    return scale * FP8_UNIT if tl.float8e4nv == KIND else scale


@triton.jit
def _dots(a0, a1, b0, b1, a_sum, b_sum, x_place, KIND: tl.constexpr):
    """The sums with a piece more."""
    x0, x1 = values(x_place)
    if tl.bfloat16 == KIND:
        return tl.inline_asm_elementwise(
            BF16, "=f,=f,l,l,l,l,f,f,l,l", [a0, a1, b0, b1, a_sum, b_sum, x0, x1],
            dtype=(tl.float32, tl.float32), is_pure=False, pack=1,
        )  # fmt: skip
    x2, x3 = values(x_place + 8)
    return tl.inline_asm_elementwise(
        INT8 if tl.int8 == KIND else FP8, "=f,=f,l,l,l,l,f,f,l,l,l,l",
        [a0, a1, b0, b1, a_sum, b_sum, x0, x1, x2, x3],
        dtype=(tl.float32, tl.float32), is_pure=False, pack=1,
    )  # fmt: skip
