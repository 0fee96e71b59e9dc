"""The student: a small Jamba whose parameters carry Hugging Face's names.

Token-wise work runs on flat [b*l] rows, so that one compilation serves every sequence length;
only the scan and the attention see [b, l].  Letters: t = b*l tokens, d hidden, e inner width,
n state size, r dt rank, p head size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from quant.ops import int8
from runtime.distill.forms import Form, form_of, rounded
from runtime.distill.scan import scan
from runtime.distill.teacher import EPS, HEAD_DIM, grouped_attention, rms_norm, swiglu


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """Sizes of the student; the defaults are `nano`."""

    hidden: int = 576
    layers: int = 30
    ff: int = 1536
    heads: int = 9
    kv_heads: int = 3
    vocab: int = 49152
    expand: int = 1
    state: int = 16
    conv: int = 4
    period: int = 3
    offset: int = 2
    max_positions: int = 8192

    @property
    def inner(self) -> int:
        """Width of a Mamba mixer."""
        return self.expand * self.hidden

    @property
    def dt_rank(self) -> int:
        """Rank of the time-step projection."""
        return math.ceil(self.hidden / 16)

    def is_attention(self, layer: int) -> bool:
        """Whether a layer mixes by attention."""
        return layer % self.period == self.offset


def mamba_pre(x: Tensor, w: list[Tensor], past: Tensor) -> list[Tensor]:
    """x [t, d] -> u, dt, B, C, z, feature-major [., t]; `past` as `Student.past` makes it."""
    norm, in_proj, conv, conv_bias, x_proj, dt_norm, b_norm, c_norm, dt_proj = w
    dtype, e, r = x.dtype, conv.shape[0], dt_proj.shape[1]
    n = (x_proj.shape[0] - r) // 2
    both = in_proj.to(dtype) @ rms_norm(x, norm).t()  # [2e, t]
    u, z = both[:e], both[e:]
    taps = conv.to(dtype)[:, 0]  # [e, conv]
    mixed = taps[:, -1:] * u + conv_bias.to(dtype)[:, None]
    for back in range(1, conv.shape[2]):
        shifted = functional.pad(u, (back, 0))[:, : u.shape[1]] * past[back - 1]
        mixed = mixed + taps[:, -1 - back, None] * shifted
    u = functional.silu(mixed)
    low = x_proj.to(dtype) @ u  # [r + 2n, t]
    dt = dt_proj.to(dtype) @ _norm_features(low[:r], dt_norm)
    return [u, dt, _norm_features(low[r : r + n], b_norm), _norm_features(low[r + n :], c_norm), z]


def _norm_features(x: Tensor, weight: Tensor) -> Tensor:
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(0, keepdim=True) + EPS)
    return wide.to(x.dtype) * weight.to(x.dtype)[:, None]


def project_out(y: Tensor, weight: Tensor) -> Tensor:
    """y [e, t] -> [t, d]."""
    return (weight.to(y.dtype) @ y).t()


def mamba_post(x: Tensor, y: Tensor, out: Tensor, ff: list[Tensor]) -> Tensor:
    """Closes a Mamba layer: output projection, residual, feed-forward."""
    c = x.dtype
    return swiglu(x + project_out(y, out), ff[0], ff[1].to(c), ff[2].to(c), ff[3].to(c))


def attention_pre(x: Tensor, w: list[Tensor], batch: int) -> list[Tensor]:
    """x [t, d] -> queries, keys, values [b, heads, l, p]; no positions."""
    n = rms_norm(x, w[0])
    flat = [functional.linear(n, m.to(x.dtype)) for m in w[1:4]]
    return [
        part.view(batch, -1, part.shape[1] // HEAD_DIM, HEAD_DIM).transpose(1, 2) for part in flat
    ]


def attention_post(x: Tensor, mixed: Tensor, out: Tensor, ff: list[Tensor]) -> Tensor:
    """Closes an attention layer."""
    c = x.dtype
    return swiglu(
        x + functional.linear(mixed, out.to(c)), ff[0], ff[1].to(c), ff[2].to(c), ff[3].to(c)
    )


class Student:
    """Parameters in fp32 by their checkpoint names, and the differentiable forward pass."""

    def __init__(
        self, config: StudentConfig, tensors: dict[str, Tensor], dtype: torch.dtype
    ) -> None:
        self.config = config
        shipped = int8.quantize(tensors["model.embed_tokens.weight"])
        self.embedding = int8.dequantize(*shipped, dtype)  # frozen
        self.parameters = {
            name: value.float().requires_grad_()
            for name, value in tensors.items()
            if "embed_tokens" not in name
        }
        self.quantize = False
        self._working: dict[str, Tensor] = self.parameters
        self._masks: dict[tuple[int, int], Tensor] = {}
        self.mamba_pre: Callable[..., list[Tensor]] = mamba_pre
        self.mamba_post: Callable[..., Tensor] = mamba_post
        self.attention_pre: Callable[..., list[Tensor]] = attention_pre
        self.attention_post: Callable[..., Tensor] = attention_post

    def compile(self) -> None:
        """Compiles the token-wise pieces."""
        self.mamba_pre = torch.compile(mamba_pre, dynamic=False)
        self.mamba_post = torch.compile(mamba_post, dynamic=False)
        self.attention_post = torch.compile(attention_post, dynamic=False)

    def refresh(self) -> None:
        """Recomputes the weights the forward pass uses; call after every optimizer step.

        Quantized weights are leaves of their own: `collect_gradients` hands theirs over, which
        is the straight-through estimate.
        """
        self._working = dict(self.parameters)
        if not self.quantize:
            return
        groups: dict[tuple[Form, torch.Size], list[str]] = {}
        for name, value in self.parameters.items():
            if (form := form_of(name)) is not None:
                groups.setdefault((form, value.shape), []).append(name)
        for (form, _), names in groups.items():
            with torch.no_grad():
                stacked = rounded(torch.stack([self.parameters[name] for name in names]), form)
            for name, value in zip(names, stacked.unbind(0), strict=True):
                self._working[name] = value.clone().requires_grad_()

    @contextmanager
    def replaced(self, name: str, weight: Tensor) -> Iterator[None]:
        """The forward pass uses another weight in this block."""
        own = self._working[name]
        self._working[name] = weight
        try:
            yield
        finally:
            self._working[name] = own

    def collect_gradients(self) -> None:
        """Gives the parameters the gradients of their quantized copies."""
        for name, value in self._working.items():
            parameter = self.parameters[name]
            if value is not parameter:
                parameter.grad = value.grad

    def layer_weights(self, index: int, *names: str) -> list[Tensor]:
        """Weights of a layer by the part of their names after the layer's number."""
        return [self._working[f"model.layers.{index}.{name}"] for name in names]

    def feed_forward_weights(self, index: int) -> list[Tensor]:
        """Norm, gate, up and down."""
        return self.layer_weights(
            index,
            "pre_ff_layernorm.weight",
            *(f"feed_forward.{part}_proj.weight" for part in ("gate", "up", "down")),
        )

    def mamba_weights(self, index: int) -> tuple[list[Tensor], list[Tensor]]:
        """What `mamba_pre` takes; then A, D and the time-step bias."""
        parts = "in_proj.weight conv1d.weight conv1d.bias x_proj.weight dt_layernorm.weight "
        parts += "b_layernorm.weight c_layernorm.weight dt_proj.weight A_log D dt_proj.bias"
        names = [f"mamba.{part}" for part in parts.split()]
        *pre, a_log, skip, bias = self.layer_weights(index, "input_layernorm.weight", *names)
        return pre, [-torch.exp(a_log), skip, bias]

    def attention_weights(self, index: int) -> list[Tensor]:
        """Norm, then query, key, value and output projections."""
        names = [f"self_attn.{part}_proj.weight" for part in "qkvo"]
        return self.layer_weights(index, "input_layernorm.weight", *names)

    def past(self, batch: int, length: int) -> Tensor:
        """[conv - 1, b*l]: 1 where the token that many places back is of the same sequence."""
        key = batch, length
        if key not in self._masks:
            place = torch.arange(length, device=self.embedding.device).repeat(batch)
            rows = [place >= back for back in range(1, self.config.conv)]
            self._masks[key] = torch.stack(rows).to(self.embedding.dtype)
        return self._masks[key]

    def scanned(self, index: int, x: Tensor, batch: int) -> Tensor:
        """The gated output [e, t] of a Mamba layer's scan."""
        pre, (A, D, bias) = self.mamba_weights(index)
        length = x.shape[0] // batch
        flat = self.mamba_pre(x, pre, self.past(batch, length))
        u, dt, B, C, z = (part.view(-1, batch, length).permute(1, 0, 2) for part in flat)
        y = scan(u, dt, A, B, C, D, z, bias)
        return y.permute(1, 0, 2).reshape(-1, x.shape[0])

    def mixed(self, index: int, x: Tensor, batch: int) -> Tensor:
        """An attention layer's heads [t, d], before the output projection."""
        q, k, v = self.attention_pre(x, self.attention_weights(index), batch)
        return grouped_attention(q, k, v).reshape(x.shape)

    def mixer_output(self, index: int, x: Tensor, batch: int) -> Tensor:
        """What the mixer adds to the residual stream, [t, d]."""
        if self.config.is_attention(index):
            out = self.attention_weights(index)[4].to(x.dtype)
            return functional.linear(self.mixed(index, x, batch), out)
        (out,) = self.layer_weights(index, "mamba.out_proj.weight")
        return project_out(self.scanned(index, x, batch), out)

    def layer(self, index: int, x: Tensor, batch: int) -> Tensor:
        """One whole layer on x [t, d]."""
        ff = self.feed_forward_weights(index)
        if self.config.is_attention(index):
            mixed, out = self.mixed(index, x, batch), self.attention_weights(index)[4]
            return self.attention_post(x, mixed, out, ff)
        (out,) = self.layer_weights(index, "mamba.out_proj.weight")
        return self.mamba_post(x, self.scanned(index, x, batch), out, ff)

    def finish(self, x: Tensor) -> Tensor:
        """The final norm."""
        return rms_norm(x, self._working["model.final_layernorm.weight"])

    def forward(self, ids: Tensor, on_layer: Callable[[int, Tensor], None] | None = None) -> Tensor:
        """ids [b, l] -> normalized final states [t, d]."""
        x = functional.embedding(ids.reshape(-1), self.embedding)
        for index in range(self.config.layers):
            x = self.layer(index, x, ids.shape[0])
            if on_layer is not None:
                on_layer(index, x)
        return self.finish(x)
