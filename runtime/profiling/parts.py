"""Marks the parts of a forward pass while a profile is taken; the model itself knows nothing of it.

A part is entered where a module or an operation of `runtime.model` is, and what no inner part
claims belongs to the outer one: what is left of a layer is `elementwise`, of the model `head`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from torch import nn

import runtime.model
from runtime.model import JambaModel, Layer

Part = Literal[
    "scan", "conv", "mamba projections", "moe", "dense mlp", "attention",
    "attention projections", "norms", "elementwise", "head",
]  # fmt: skip

_MODULES: tuple[tuple[type[nn.Module], Part], ...] = (
    (runtime.model.MoE, "moe"),
    (runtime.model.MLP, "dense mlp"),
    (runtime.model.RMSNorm, "norms"),
    (Layer, "elementwise"),
    (JambaModel, "head"),
)
_PROJECTIONS: tuple[tuple[type[nn.Module], Part], ...] = (
    (runtime.model.MambaMixer, "mamba projections"),
    (runtime.model.AttentionMixer, "attention projections"),
)
_OPERATIONS: tuple[tuple[str, Part], ...] = (
    ("selective_scan", "scan"),
    ("causal_conv", "conv"),
    ("attention", "attention"),
    ("add_rms_norm", "norms"),
    ("add_rms_norm_rows", "norms"),
)


class Marker(Protocol):
    """What is told of the parts: they are entered and left like brackets."""

    def enter(self, part: Part) -> None:
        """From here on time is this part's."""

    def leave(self) -> None:
        """The part that was entered last ends."""


def module_parts(model: JambaModel) -> Iterator[tuple[nn.Module, Part]]:
    """The modules that are a part, and which."""
    for module in model.modules():
        for kind, part in _MODULES:
            if isinstance(module, kind):
                yield module, part
        for kind, part in _PROJECTIONS:
            if isinstance(module, kind):
                for name, child in module.named_children():
                    if name.endswith("_proj"):
                        yield child, part


@contextmanager
def marked(model: JambaModel, marker: Marker) -> Iterator[None]:
    """Tells the marker of the parts of every forward pass inside of the block."""
    handles = []
    for module, part in module_parts(model):

        def enter(*_: object, part: Part = part) -> None:
            marker.enter(part)

        def leave(*_: object) -> None:
            marker.leave()

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave, always_call=True))
    own = {name: getattr(runtime.model, name) for name, _ in _OPERATIONS}
    for name, operation_part in _OPERATIONS:
        setattr(runtime.model, name, _marked(own[name], operation_part, marker))
    try:
        yield
    finally:
        for name, operation in own.items():
            setattr(runtime.model, name, operation)
        for handle in handles:
            handle.remove()


def _marked(operation: Callable[..., Any], part: Part, marker: Marker) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **options: Any) -> Any:
        marker.enter(part)
        try:
            return operation(*arguments, **options)
        finally:
            marker.leave()

    return wrapped
