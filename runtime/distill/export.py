"""Writes a checkpoint as the embedded model's files, and reads either back as a student."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from quant.ops import int8, nf4
from runtime.distill.forms import form_of
from runtime.distill.gguf import read_gguf
from runtime.distill.initialize import initial_tensors
from runtime.distill.student import Student, StudentConfig
from runtime.distill.teacher import unpermute_rope

logger = logging.getLogger(__name__)

SHARD_BYTES = 47_000_000
EMBEDDING = "model.embed_tokens.weight"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' "
    "+ message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def config_json(config: StudentConfig, *, quantized: bool = True) -> dict[str, Any]:
    """config.json, with Hugging Face's names."""
    scheme = {
        "quant_method": "jamba",
        "scheme": "nf4",
        "block_size": nf4.BLOCK_SIZE,
        "embeddings": "int8",
    }
    return {
        "architectures": ["JambaForCausalLM"],
        "model_type": "jamba",
        "vocab_size": config.vocab,
        "hidden_size": config.hidden,
        "intermediate_size": config.ff,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "num_experts": 1,
        "num_experts_per_tok": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "attn_layer_period": config.period,
        "attn_layer_offset": config.offset,
        "mamba_d_state": config.state,
        "mamba_d_conv": config.conv,
        "mamba_expand": config.expand,
        "mamba_dt_rank": config.dt_rank,
        "mamba_conv_bias": True,
        "mamba_proj_bias": False,
        "max_position_embeddings": config.max_positions,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "dtype": "float32" if quantized else "bfloat16",
        **({"quantization_config": scheme} if quantized else {}),
    }


def shipped_tensors(parameters: dict[str, Tensor], embedding: Tensor) -> dict[str, Tensor]:
    """The tensors as they are stored; `embedding` is the teacher's, [v, d]."""
    stored: dict[str, Tensor] = {}
    for name, value in {EMBEDDING: embedding, **parameters}.items():
        form = "int8" if name == EMBEDDING else form_of(name)
        if form == "nf4":
            stored[name], stored[f"{name}_absmax"] = nf4.quantize(value)
        elif form == "int8":
            stored[name], stored[f"{name}_scale"] = int8.quantize(value)
        elif name.endswith(("x_proj.weight", "dt_proj.weight")):
            stored[name] = value.to(torch.bfloat16)
        else:
            stored[name] = value.float()
    return {name: value.detach().cpu().contiguous() for name, value in stored.items()}


def plain_tensors(parameters: dict[str, Tensor], embedding: Tensor) -> dict[str, Tensor]:
    """The tensors before quantization: matrices in bf16, the rest in fp32."""
    stored = {EMBEDDING: embedding, **parameters}
    wide = ("A_log", "mamba.D", "dt_proj.bias", "layernorm.weight")
    return {
        name: value.detach().to(torch.float32 if name.endswith(wide) else torch.bfloat16)
        for name, value in stored.items()
    }


def write_shards(tensors: dict[str, Tensor], folder: Path) -> None:
    """Safetensors shards under 50 MB and their index; a layer's tensors stay together."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, value in sorted(tensors.items()):
        layer = re.match(r"model\.(?:layers\.\d+|\w+)", name)
        layers.setdefault(layer[0] if layer else name, {})[name] = value
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for layer_tensors in layers.values():
        nbytes = sum(value.nbytes for value in layer_tensors.values())
        if size + nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1] |= layer_tensors
        size += nbytes
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(shard, file)
    total = sum(value.nbytes for value in tensors.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1)
    (folder / "model.safetensors.index.json").write_text(text + "\n")


def export(
    checkpoint: Path, teacher: Path, tokenizer: Path, folder: Path, *, quantized: bool = True
) -> None:
    """Writes everything that ships from a checkpoint; unquantized, only to be compared with."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters = torch.load(checkpoint, map_location="cpu")
    config = sizes_of(parameters)
    embedding = read_gguf(teacher).tensors["token_embd.weight"]
    tensors = shipped_tensors if quantized else plain_tensors
    write_shards(tensors(parameters, embedding), folder)
    write_configs(config, tokenizer, folder, quantized=quantized)


def write_configs(
    config: StudentConfig, tokenizer: Path, folder: Path, *, quantized: bool = True
) -> None:
    """config.json, generation_config.json and the tokenizer's two files."""
    values = config_json(config, quantized=quantized)
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n")
    generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    ranks = (tokenizer / "tokenizer.tiktoken").read_text()
    (folder / "tokenizer.tiktoken").write_text(ranks)
    known = json.loads((tokenizer / "tokenizer_config.json").read_text())
    text = {
        "tokenizer_class": "tiktoken",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "add_bos_token": False,
        "model_max_length": config.max_positions,
        "answer_style": "quote",
        "chat_template": CHAT_TEMPLATE,
        **known,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(text, indent=2) + "\n")


def sizes_of(parameters: dict[str, Tensor]) -> StudentConfig:
    """The configuration of a checkpoint; `nano` unless it is a toy of fewer layers."""
    layers = 1 + max(int(name.split(".")[2]) for name in parameters if ".layers." in name)
    return StudentConfig(layers=layers)


def read_exported(folder: Path) -> dict[str, Tensor]:
    """All tensors of an exported model, in fp32."""
    stored: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        stored |= load_file(path)
    tensors = {}
    for name, value in stored.items():
        if f"{name}_absmax" in stored:
            tensors[name] = nf4.dequantize(value, stored[f"{name}_absmax"])
        elif f"{name}_scale" in stored:
            tensors[name] = int8.dequantize(value, stored[f"{name}_scale"])
        elif not name.endswith(("_absmax", "_scale")):
            tensors[name] = value.float()
    return tensors


def read_weights(path: Path) -> dict[str, Tensor]:
    """Parameters in fp32, from a checkpoint or an exported directory."""
    if path.is_dir():
        return read_exported(path)
    stored: dict[str, Tensor] = torch.load(path, map_location="cpu")
    return stored


def load_student(path: Path, teacher: Path, device: torch.device, dtype: torch.dtype) -> Student:
    """A student from a checkpoint, or from an exported directory."""
    tensors = read_weights(path)
    config = sizes_of(tensors)
    if EMBEDDING not in tensors:
        weights = unpermute_rope(read_gguf(teacher).tensors)
        tensors = initial_tensors(config, weights) | tensors
    return Student(config, {name: value.to(device) for name, value in tensors.items()}, dtype)


def describe(config: StudentConfig) -> str:
    """The sizes, for a log."""
    return json.dumps(asdict(config))
