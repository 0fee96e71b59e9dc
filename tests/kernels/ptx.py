"""A warp that runs the few instructions of `quant.ops.gemv`, which Triton's interpreter can't."""

from __future__ import annotations

import re
from ctypes import string_at
from typing import Any

import numpy as np
import triton.language as tl
from numpy.typing import NDArray
from triton.runtime.interpreter import TensorHandle

Values = NDArray[np.generic]

LANES = 32


def as_fp64(halves: Values) -> Values:
    """bf16 as its 16 bits -> fp64, by integers: CPUs may take subnormals for zero."""
    bits = halves.astype(np.int64)
    exponent, fraction = bits >> 7 & 0xFF, bits & 0x7F
    size = np.where(exponent > 0, fraction + 0x80, fraction).astype(np.float64)
    signed = np.where(bits >> 15, -size, size)
    result: Values = signed * 2.0 ** (np.maximum(exponent, 1) - 134)
    return result


def as_bf16(values: Values) -> Values:
    """fp32 that bf16 can hold -> 16 bits."""
    return values.astype(np.float32).view(np.uint32) >> 16


class Warp:
    """Registers by name, one value a lane; `shared` is its shared memory in words."""

    def __init__(self, operands: list[Values], results: int, shared: Values | None = None) -> None:
        self.values: dict[str, Values] = {}
        self.shared = shared
        for i, operand in enumerate(operands):
            self.values[f"${results + i}"] = operand
        self.results = results

    def run(self, text: str) -> list[Values]:
        """Executes inline assembly and returns what it leaves in its results."""
        for statement in text.strip().removeprefix("{").removesuffix("}").split(";"):
            name, _, rest = statement.strip().partition(" ")
            if name and not name.startswith(".reg"):
                getattr(self, "_" + name.split(".")[0])(name, re.findall(r"\{.*?\}|[^\s,]+", rest))
        return [self.values[f"${i}"] for i in range(self.results)]

    def _get(self, operand: str) -> Values:
        if operand in self.values:
            return self.values[operand]
        if operand.startswith("0f"):
            return np.full(LANES, int(operand[2:], 16), np.uint32).view(np.float32)
        return np.full(LANES, int(operand, 0), np.uint32)

    def _several(self, operand: str) -> list[Values]:
        return [self._get(part) for part in operand.strip("{}").split(", ")]

    def _mov(self, name: str, operands: list[str]) -> None:
        to, source = operands
        if to.startswith("{"):
            low, high = to.strip("{}").split(", ")
            both = self._get(source).view(np.uint32).reshape(LANES, 2)
            self.values |= {low: both[:, 0].copy(), high: both[:, 1].copy()}
        else:
            self.values[to] = self._get(source)

    def _prmt(self, name: str, operands: list[str]) -> None:
        to, low, high, selector = operands
        both = np.stack((self._get(low), self._get(high)), -1).view(np.uint8)
        places = [int(selector, 0) >> 4 * j & 7 for j in range(4)]
        self.values[to] = np.ascontiguousarray(both[:, places]).view(np.uint32)[:, 0]

    def _mad(self, name: str, operands: list[str]) -> None:
        to, a, b, c = operands
        self.values[to] = self._get(a) * self._get(b) + self._get(c)

    def _ld(self, name: str, operands: list[str]) -> None:
        to, at = operands
        assert self.shared is not None
        self.values[to] = self.shared[self._get(at.strip("[]")) // 4]

    def _shl(self, name: str, operands: list[str]) -> None:
        to, a, b = operands
        self.values[to] = self._get(a) << self._get(b)

    def _shr(self, name: str, operands: list[str]) -> None:
        to, a, b = operands
        self.values[to] = self._get(a) >> self._get(b)

    def _and(self, name: str, operands: list[str]) -> None:
        to, a, b = operands
        self.values[to] = self._get(a) & self._get(b)

    def _lop3(self, name: str, operands: list[str]) -> None:
        to, a, b, c, table = operands
        assert int(table, 16) == (0xF0 & 0xCC) | 0xAA
        self.values[to] = (self._get(a) & self._get(b)) | self._get(c)

    def _fma(self, name: str, operands: list[str]) -> None:
        to, *sources = operands
        a, b, c = (as_fp64(self._get(s).view(np.uint16).reshape(LANES, 2)) for s in sources)
        self.values[to] = as_bf16(a * b + c).astype(np.uint16).view(np.uint32)[:, 0]

    def _mma(self, name: str, operands: list[str]) -> None:
        """m16n8k16: lane 4g + t has row g, columns 2t and 2t + 1, and their neighbours by 8."""
        to, a, b, c = operands
        g, t = np.arange(LANES) // 4, np.arange(LANES) % 4
        left, right = np.zeros((16, 16), np.float64), np.zeros((16, 8), np.float64)
        total = np.zeros((16, 8), np.float64)
        for j, value in enumerate(self._several(a)):
            pair = as_fp64(value.view(np.uint16).reshape(LANES, 2))
            for h in range(2):
                left[g + 8 * (j % 2), 2 * t + 8 * (j // 2) + h] = pair[:, h]
        for j, value in enumerate(self._several(b)):
            pair = as_fp64(value.view(np.uint16).reshape(LANES, 2))
            for h in range(2):
                right[2 * t + 8 * j + h, g] = pair[:, h]
        for j, value in enumerate(self._several(c)):
            total[g + 8 * (j // 2), 2 * t + j % 2] = value
        total += left @ right
        for j, register in enumerate(to.strip("{}").split(", ")):
            self.values[register] = total[g + 8 * (j // 2), 2 * t + j % 2].astype(np.float32)


def read(addresses: Values, size: int) -> Values:
    """Bytes [lanes, size] of this process's memory."""
    return np.stack([np.frombuffer(string_at(int(a), size), np.uint8) for a in addresses])


class Assembly:
    """Stands for `tl.inline_asm_elementwise` in the interpreter: one value a thread."""

    def __init__(self) -> None:
        self.shared = np.zeros(8192, np.uint32)

    def __call__(self, asm: Any, constraints: str, args: list[Any], dtype: Any, **_: Any) -> Any:
        """Runs it for all warps of a program."""
        operands = [np.atleast_1d(arg.handle.data) for arg in args]
        threads = max(len(operand) for operand in operands)
        operands = [np.broadcast_to(operand, threads) for operand in operands]
        types = dtype if isinstance(dtype, tuple) else (dtype,)
        results = self._results(str(asm.value), operands, len(types))
        tensors = [
            tl.tensor(TensorHandle(np.ascontiguousarray(r), t), tl.block_type(t, [threads]))
            for r, t in zip(results, types, strict=True)
        ]
        return tuple(tensors) if isinstance(dtype, tuple) else tensors[0]

    def _results(self, text: str, operands: list[Values], count: int) -> list[Values]:
        first, threads = operands[0], len(operands[0])
        if "st.shared" in text:
            for at, value in zip(first, operands[1], strict=True):
                self.shared[at // 4 : at // 4 + 4] = int(value) & 0xFFFFFFFF
        if ".shared .align" in text or "st.shared" in text:
            return [np.zeros(threads, np.int32)]
        if "v4.b16" in text:
            return list(read(first, 8).view(np.float16).astype(np.float32).T)
        if "v4.f32" in text:
            return list(read(first, 16).view(np.float32).T)
        if "v2.b64" in text:
            there = operands[1] != 0 if len(operands) > 1 else np.ones(threads, bool)
            junk = 0 if "mov.b64 v0, 0" in text else 0x7FC17FC17FC17FC1  # must not matter
            values = np.full((threads, 2), junk, np.uint64)
            if there.any():
                values[there] = read(first[there], 16).view(np.uint64)
            return list(values.T.astype(np.int64))
        unsigned = {np.dtype(np.int64): np.uint64, np.dtype(np.int32): np.uint32}
        warps = []
        for start in range(0, threads, LANES):
            lanes = [np.ascontiguousarray(o[start : start + LANES]) for o in operands]
            lanes = [o.view(unsigned.get(o.dtype, o.dtype)) for o in lanes]
            warps.append(Warp(lanes, count, self.shared).run(text))
        return [np.concatenate(parts).astype(np.float32) for parts in zip(*warps, strict=True)]
