"""Quantized weights and activations: what they are stored as, without what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

SchemeName = Literal["int8", "fp8", "nf4", "w8a8"]


@dataclass(frozen=True, slots=True)
class QuantWeight:
    """Codes and their scales; leading dimensions are a stack, such as the experts of a layer.

    int8, w8a8: codes int8 [..., n, k], scale fp32 [..., n].  fp8: codes float8_e4m3fn [..., n, k],
    scale fp32 [..., n].  nf4: codes uint8 [..., n, k/2], the earlier element in the high half,
    scale fp32 or fp16 [..., n, k/64].  All contiguous.
    """

    scheme: SchemeName
    codes: Tensor
    scale: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape [..., n, k] of the weight that it stands for."""
        *rest, k = self.codes.shape
        return (*rest, 2 * k if self.scheme == "nf4" else k)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scale.nbytes

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.codes.device

    def __getitem__(self, index: Any) -> QuantWeight:
        """A member of a stack, or some of its rows."""
        return QuantWeight(self.scheme, self.codes[index], self.scale[index])


@dataclass(frozen=True, slots=True)
class QuantRows:
    """Activations as fp8 products take them, each row rounded with a scale of its own.

    codes float8_e4m3fn [m, k], scale fp32 [m]; `dtype` is what they were, and their products are.
    """

    codes: Tensor
    scale: Tensor
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """[m, k]."""
        return tuple(self.codes.shape)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.codes.device

    def __getitem__(self, rows: Tensor | slice) -> QuantRows:
        """Some of the rows, as they are: a row is quantized without regard to others."""
        codes = self.codes.view(torch.uint8)[rows]  # bytes are gathered on every device
        return QuantRows(codes.view(self.codes.dtype), self.scale[rows], self.dtype)


Rows = Tensor | QuantRows
"""Activations, wide or quantized."""
