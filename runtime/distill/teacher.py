"""The teacher, SmolLM2-135M-Instruct: weights from its GGUF file and a plain forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

HEADS, KV_HEADS, HEAD_DIM, HIDDEN, EPS, ROPE_THETA = 9, 3, 64, 576, 1e-5, 1e5
_PER_LAYER = (
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
)


def unpermute_rope(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undoes llama.cpp's reordering of the query and key rows (interleaved to half-split)."""
    result = dict(tensors)
    for name, weight in tensors.items():
        if name.endswith(("attn_q.weight", "attn_k.weight")):
            heads = HEADS if "attn_q" in name else KV_HEADS
            rows = weight.reshape(heads, HEAD_DIM // 2, 2, -1).swapaxes(1, 2)
            result[name] = rows.reshape(heads * HEAD_DIM, -1).contiguous()
    return result


def rms_norm(x: Tensor, weight: Tensor, eps: float = EPS) -> Tensor:
    """x [..., d] normalized in fp32, cast back, then scaled."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return wide.to(x.dtype) * weight.to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def grouped_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention: q [b, h, l, p], k and v [b, g, l, p] -> [b, l, h * p]."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.transpose(1, 2).reshape(q.shape[0], q.shape[2], -1)


def swiglu(x: Tensor, norm: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """x plus its feed-forward."""
    n = rms_norm(x, norm)
    return x + functional.linear(
        functional.silu(functional.linear(n, gate)) * functional.linear(n, up), down
    )


def qkv(x: Tensor, w: list[Tensor], cos: Tensor, sin: Tensor, batch: int) -> list[Tensor]:
    """x [b*l, d] -> queries, keys, values [b, heads, l, p], rotated."""
    n = rms_norm(x, w[0])
    split = [
        functional.linear(n, m).view(batch, -1, m.shape[0] // HEAD_DIM, HEAD_DIM) for m in w[1:4]
    ]
    q, k, v = (part.transpose(1, 2) for part in split)
    return [_rotate(q, cos, sin), _rotate(k, cos, sin), v]


def close_block(x: Tensor, mixed: Tensor, w: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The attention block's output [t, d] and the layer's output [t, d]."""
    attended = functional.linear(mixed, w[4])
    return attended, swiglu(x + attended, w[5], w[6], w[7], w[8])


@dataclass(frozen=True, slots=True)
class Traced:
    """What a layer of the teacher makes: its attention block's output and its own, [t, d]."""

    attended: Tensor
    hidden: Tensor


class Teacher:
    """Frozen; works on flat [b*l] token ids so that shapes stay constant over lengths."""

    def __init__(
        self, tensors: dict[str, Tensor], layers: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        def get(name: str) -> Tensor:
            return tensors[name].to(device, dtype)

        self.embedding = get("token_embd.weight")
        self.final_norm = get("output_norm.weight")
        self.layers = [
            [get(f"blk.{i}.{name}.weight") for name in _PER_LAYER] for i in range(layers)
        ]
        self.device, self.dtype = device, dtype
        self._qkv, self._close = qkv, close_block
        self._tables: dict[int, tuple[Tensor, Tensor]] = {}

    def compile(self) -> None:
        """Compiles the pieces around the attention kernel."""
        self._qkv = torch.compile(qkv, dynamic=False)
        self._close = torch.compile(close_block, dynamic=False)

    def rope(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the rotary positions, [l, p]."""
        if length not in self._tables:
            steps = torch.arange(0, HEAD_DIM, 2, dtype=torch.float32) / HEAD_DIM
            angles = torch.outer(torch.arange(length).float(), 1.0 / ROPE_THETA**steps)
            angles = torch.cat([angles, angles], -1).to(self.device)
            self._tables[length] = angles.cos().to(self.dtype), angles.sin().to(self.dtype)
        return self._tables[length]

    @torch.no_grad()
    def layer(self, index: int, x: Tensor, batch: int) -> Traced:
        """One layer on x [b*l, d]."""
        cos, sin = self.rope(x.shape[0] // batch)
        q, k, v = self._qkv(x, self.layers[index], cos, sin, batch)
        mixed = grouped_attention(q, k, v).reshape(x.shape)
        attended, hidden = self._close(x, mixed, self.layers[index])
        return Traced(attended, hidden)

    @torch.no_grad()
    def forward(self, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        """ids [b, l] -> normalized final states [b*l, d] and each layer's output."""
        x = functional.embedding(ids.reshape(-1), self.embedding)
        hidden = []
        for index in range(len(self.layers)):
            x = self.layer(index, x, ids.shape[0]).hidden
            hidden.append(x)
        return rms_norm(x, self.final_norm), hidden
