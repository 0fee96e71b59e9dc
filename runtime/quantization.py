"""What of a model is quantized, and how a checkpoint's config.json says so."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch

from quant.linear import quantize_
from quant.schemes import CPU_SCHEMES, SCHEMES, Scheme, from_json
from runtime.config import JambaConfig
from runtime.errors import ConfigError, UsageError
from runtime.model import JambaModel, Part, quantizable

logger = logging.getLogger(__name__)

ALWAYS_KEPT: frozenset[Part] = frozenset({"head"})
"""What stays in 16 bits unless asked for: the output head decides between tokens directly."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """A scheme, and the parts of the model that it leaves in 16 bits."""

    scheme: Scheme
    keep: frozenset[Part] = ALWAYS_KEPT

    def apply(self, model: JambaModel, only: Collection[str] | None = None) -> list[str]:
        """Replaces layers by quantized ones and returns their paths; `only` narrows the choice.

        Layers whose width the scheme can't hold stay as they are.
        """
        wanted = self._wanted(model)
        wanted &= wanted if only is None else set(only)
        return quantize_(model, self.scheme, wanted.__contains__)

    def _wanted(self, model: JambaModel) -> set[str]:
        return {path for path, part in quantizable(model).items() if part not in self.keep}

    def tell_left_out(self, config: JambaConfig) -> None:
        """Logs a warning if there are layers that the scheme can't hold."""
        with torch.device("meta"):
            model = JambaModel(config)
        wanted = self._wanted(model)
        if left := len(wanted) - len(self.apply(model)):
            logger.warning(
                "%d of %d layers stay in 16 bits: %s needs widths that are multiples of %d",
                left, len(wanted), self.scheme.name, self.scheme.multiple,
            )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """The scheme and what is kept."""
        return {**self.scheme.as_json(), "keep": sorted(self.keep)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Quantization:
        """The inverse of `as_json`; raises ValueError for what it never wrote."""
        rest = dict(values)
        keep = rest.pop("keep", None)
        if not isinstance(keep, list) or not set(keep) <= set(get_args(Part)):
            raise ValueError(f"keep {keep!r} is no list of {', '.join(get_args(Part))}")
        return cls(from_json(rest), frozenset(keep))


def named(scheme: str | None, keep: Collection[str] = ALWAYS_KEPT) -> Quantization | None:
    """The quantization of a scheme by its name, None for none; raises UsageError."""
    if scheme in (None, "none"):
        return None
    known = SCHEMES | CPU_SCHEMES
    if scheme not in known:
        raise UsageError(
            f"unknown scheme {scheme!r}", hint=f"the schemes are none, {', '.join(known)}"
        )
    parts = {part for part in get_args(Part) if part in keep}
    if len(parts) < len(set(keep)):
        raise UsageError(
            f"can't keep {', '.join(sorted(set(keep) - parts))}",
            hint=f"the parts are {', '.join(get_args(Part))}",
        )
    return Quantization(known[scheme], frozenset(parts))


def stored_quantization(values: Mapping[str, Any], source: str) -> Quantization:
    """The quantization of one of our own checkpoints."""
    keys = ("scheme", "absmax", "keep")
    try:
        return Quantization.from_json({key: values[key] for key in keys if key in values})
    except ValueError as error:
        raise ConfigError(f"{source}: quantization_config: {error}") from error
