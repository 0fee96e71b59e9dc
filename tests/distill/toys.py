"""A toy teacher, for students that train on a CPU in a second."""

from __future__ import annotations

import torch

VOCAB = 512


def toy_teacher(layers: int) -> dict[str, torch.Tensor]:
    """Random weights by the teacher's names, of a small vocabulary and feed-forward."""
    random = torch.Generator().manual_seed(0)

    def weight(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) * 0.05

    tensors = {"token_embd.weight": weight(VOCAB, 576), "output_norm.weight": torch.ones(576)}
    shapes = {
        "attn_q": (576, 576),
        "attn_k": (192, 576),
        "attn_v": (192, 576),
        "attn_output": (576, 576),
        "ffn_gate": (128, 576),
        "ffn_up": (128, 576),
        "ffn_down": (576, 128),
    }
    for index in range(layers):
        tensors |= {f"blk.{index}.{name}.weight": weight(*s) for name, s in shapes.items()}
        for norm in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{index}.{norm}.weight"] = torch.ones(576)
    return tensors
