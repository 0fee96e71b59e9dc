"""The student's first weights, made from the teacher's."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from runtime.distill.student import StudentConfig
from runtime.distill.teacher import HEAD_DIM, HEADS, KV_HEADS

_COPIED = {
    "input_layernorm": "attn_norm",
    "pre_ff_layernorm": "ffn_norm",
    "feed_forward.gate_proj": "ffn_gate",
    "feed_forward.up_proj": "ffn_up",
    "feed_forward.down_proj": "ffn_down",
}
_ATTENTION = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}


def _rows(weight: Tensor, norm: Tensor) -> Tensor:
    """Rows rescaled so that their outputs have about unit variance."""
    sizes: Tensor = (weight * norm).norm(dim=1, keepdim=True)
    return weight / sizes.clamp_min(1e-3)


def _mamba(
    config: StudentConfig, layer: dict[str, Tensor], random: torch.Generator
) -> dict[str, Tensor]:
    d, e, r, n = config.hidden, config.inner, config.dt_rank, config.state
    group = HEADS // KV_HEADS

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    norm = layer["attn_norm"]
    values = layer["attn_v"].view(KV_HEADS, 1, HEAD_DIM, d)
    values = values.expand(-1, group, -1, -1).reshape(-1, d)
    sizes = (values * norm).norm(dim=1, keepdim=True).clamp_min(1e-3)
    queries = layer["attn_q"].view(KV_HEADS, group, HEAD_DIM, d).mean(1).reshape(-1, d)
    spread = norm.pow(2).mean().sqrt() * d**0.5
    x_half = torch.cat([_rows(values, norm), _rows(layer["attn_k"], norm), _rows(queries, norm)])
    if e > len(x_half):
        x_half = torch.cat([x_half, normal(e - len(x_half), d) / spread])
    out = 0.02 * normal(d, e) / e**0.5
    out[:, : min(e, d)] = (layer["attn_output"] * sizes.t())[:, :e]
    conv = 0.1 * normal(e, 1, config.conv)
    conv[:, :, -1] += 1
    low, high = math.log(1e-3), math.log(0.1)
    step = torch.exp(torch.rand(e, generator=random) * (high - low) + low)
    return {
        "in_proj.weight": torch.cat([x_half[:e], normal(e, d) / spread]),
        "conv1d.weight": conv,
        "conv1d.bias": torch.zeros(e),
        "x_proj.weight": normal(r + 2 * n, e) / e**0.5,
        "dt_layernorm.weight": torch.ones(r),
        "b_layernorm.weight": torch.ones(n),
        "c_layernorm.weight": torch.ones(n),
        "dt_proj.weight": (torch.rand(e, r, generator=random) * 2 - 1) * r**-0.5,
        "dt_proj.bias": step + torch.log(-torch.expm1(-step)),
        "A_log": torch.arange(1, n + 1).float().log().repeat(e, 1),
        "D": torch.ones(e),
        "out_proj.weight": out,
    }


def initial_tensors(
    config: StudentConfig, teacher: dict[str, Tensor], seed: int = 0
) -> dict[str, Tensor]:
    """All of the student's tensors; embedding, norms and feed-forwards are the teacher's."""
    random = torch.Generator().manual_seed(seed)
    tensors = {
        "model.embed_tokens.weight": teacher["token_embd.weight"],
        "model.final_layernorm.weight": teacher["output_norm.weight"],
    }
    for index in range(config.layers):
        start = f"blk.{index}."
        layer = {
            name[len(start) :].removesuffix(".weight"): value
            for name, value in teacher.items()
            if name.startswith(start)
        }
        prefix = f"model.layers.{index}."
        copied = _COPIED | (_ATTENTION if config.is_attention(index) else {})
        for ours, theirs in copied.items():
            tensors[f"{prefix}{ours}.weight"] = layer[theirs]
        if not config.is_attention(index):
            mixer = _mamba(config, layer, random)
            tensors |= {f"{prefix}mamba.{name}": value for name, value in mixer.items()}
    return {name: value.clone().contiguous() for name, value in tensors.items()}
