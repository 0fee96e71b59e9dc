"""A warp that runs the few instructions of `quant.ops.gemv`, which Triton's interpreter can't."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

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
