"""The schemes: how a weight becomes codes, what that takes, and how a file says which it was."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from quant.ops import bnb, fp8, int8, nf4
from quant.tensor import QuantWeight, SchemeName


@dataclass(frozen=True, slots=True)
class Scheme(ABC):
    """What every scheme can say; a shape is that of the weight, [..., n, k]."""

    name: ClassVar[SchemeName]
    code_dtype: ClassVar[torch.dtype]
    multiple: ClassVar[int] = 1  # k is a multiple of this

    @property
    def scale_dtype(self) -> torch.dtype:
        """The dtype of the scales."""
        return torch.float32

    def code_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the codes."""
        return tuple(shape)

    def scale_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the scales."""
        return tuple(shape[:-1])

    @abstractmethod
    def quantize(self, weight: Tensor) -> QuantWeight:
        """Codes and scales of a weight of any float dtype."""

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a weight of this shape can be stored so."""
        return len(shape) >= 2 and shape[-1] % self.multiple == 0

    def nbytes(self, shape: Sequence[int]) -> int:
        """Bytes of a weight of this shape, scales included."""
        codes = prod(self.code_shape(shape)) * self.code_dtype.itemsize
        return codes + prod(self.scale_shape(shape)) * self.scale_dtype.itemsize

    def empty(self, shape: Sequence[int], device: torch.device) -> QuantWeight:
        """Memory for a weight of this shape, not filled."""
        codes = torch.empty(self.code_shape(shape), dtype=self.code_dtype, device=device)
        scale = torch.empty(self.scale_shape(shape), dtype=self.scale_dtype, device=device)
        return QuantWeight(self.name, codes, scale)

    def as_json(self) -> dict[str, Any]:
        """What a file keeps; `from_json` reads it."""
        return {"scheme": self.name, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Int8(Scheme):
    """8-bit integers, symmetric, one scale an output channel; activations stay as they are."""

    name: ClassVar[SchemeName] = "int8"
    code_dtype: ClassVar[torch.dtype] = torch.int8

    def quantize(self, weight: Tensor) -> QuantWeight:
        """Codes and scales of a weight of any float dtype."""
        return QuantWeight(self.name, *int8.quantize(weight))


@dataclass(frozen=True, slots=True)
class W8A8(Int8):
    """int8's weights; activations are rounded to int8 too, by token, in every product."""

    name: ClassVar[SchemeName] = "w8a8"


@dataclass(frozen=True, slots=True)
class Fp8(Scheme):
    """e4m3, one scale an output channel; activations of many rows are rounded too, by token."""

    name: ClassVar[SchemeName] = "fp8"
    code_dtype: ClassVar[torch.dtype] = torch.float8_e4m3fn

    def quantize(self, weight: Tensor) -> QuantWeight:
        """Codes and scales of a weight of any float dtype."""
        return QuantWeight("fp8", *fp8.quantize(weight))


@dataclass(frozen=True, slots=True)
class Nf4(Scheme):
    """bitsandbytes' NF4 in blocks of 64 along k; `absmax` is the dtype of a block's scale.

    float32 is bitsandbytes' own, 4.5 bits a weight; float16 takes 4.25.
    """

    absmax: Literal["float32", "float16"] = "float32"

    name: ClassVar[SchemeName] = "nf4"
    code_dtype: ClassVar[torch.dtype] = torch.uint8
    multiple: ClassVar[int] = nf4.BLOCK_SIZE

    @property
    def scale_dtype(self) -> torch.dtype:
        """As `absmax` says."""
        return torch.float16 if self.absmax == "float16" else torch.float32

    def code_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Two codes a byte."""
        return (*shape[:-1], shape[-1] // 2)

    def scale_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """One scale a block."""
        return (*shape[:-1], shape[-1] // nf4.BLOCK_SIZE)

    def quantize(self, weight: Tensor) -> QuantWeight:
        """Codes and scales of a weight of any float dtype."""
        if weight.is_cuda and self.absmax == "float32" and bnb.installed():
            return QuantWeight("nf4", *bnb.quantize(weight))
        return QuantWeight("nf4", *nf4.quantize(weight, self.scale_dtype))


SCHEMES: dict[str, Scheme] = {"int8": Int8(), "fp8": Fp8(), "nf4": Nf4()}
"""The schemes by the names that the command line uses, with their defaults."""

CPU_SCHEMES: dict[str, Scheme] = {"w8a8": W8A8()}
"""Those that only CPUs compute with; no file is written in them."""


def from_json(values: Mapping[str, Any]) -> Scheme:
    """The scheme that `as_json` described; raises ValueError for what it never wrote."""
    rest = dict(values)
    name = rest.pop("scheme", None)
    if name not in SCHEMES:
        raise ValueError(f"scheme {name!r} is none of {', '.join(SCHEMES)}")
    try:
        scheme = type(SCHEMES[name])(**rest)
    except TypeError:
        raise ValueError(f"scheme {name} has no {', '.join(map(repr, rest))}") from None
    if isinstance(scheme, Nf4) and scheme.absmax not in ("float32", "float16"):
        raise ValueError(f"absmax {scheme.absmax!r} is neither float32 nor float16")
    return scheme
