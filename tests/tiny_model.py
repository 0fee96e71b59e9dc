"""A complete model directory in miniature: random weights, one token a byte, ChatML."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from runtime.config import JambaConfig
from runtime.layout import slots

SHAPE = {
    "model_type": "jamba", "vocab_size": 260, "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 1,
    "attn_layer_period": 3, "attn_layer_offset": 1, "mamba_dt_rank": 4, "dtype": "float32",
    "tie_word_embeddings": True, "bos_token_id": None, "eos_token_id": 257,
}  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


TEXT = "".join(f"Line {n} of the notes, and what it says.\n" for n in range(1, 60))
"""A document of some 2,000 tokens for a model whose tokens are bytes."""


def checkpoint_shapes(config: JambaConfig) -> dict[str, tuple[int, ...]]:
    """The tensors that a checkpoint of this shape holds, by their names on disk."""
    return {name: slot.shape for name, slot in slots(config).items()}


def write_model(directory: Path, *, context: int = 2000, style: str = "prose") -> Path:
    """Writes the model and returns its directory; equal arguments give equal weights."""
    directory.mkdir(parents=True, exist_ok=True)
    values = SHAPE | {"max_position_embeddings": context}
    (directory / "config.json").write_text(json.dumps(values))
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(shape, generator=generator) / (shape[-1] ** 0.5 if len(shape) > 1 else 2)
        for name, shape in checkpoint_shapes(JambaConfig.from_dict(values)).items()
    }
    save_file(tensors, directory / "model.safetensors")
    ranks = (f"{base64.b64encode(bytes([i])).decode()} {i}\n" for i in range(256))
    (directory / "tokenizer.tiktoken").write_text("".join(ranks))
    config = {
        "tiktoken_pattern": r"\S+|\s+",
        "tiktoken_special_tokens": {"<|im_start|>": 256, "<|im_end|>": 257},
        "chat_template": TEMPLATE,
        "answer_style": style,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory
