"""A model's shape, read from a checkpoint's config.json.

Anything that is not understood is an error that names it: a key that is silently ignored is how
other stacks get silently wrong logits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from runtime.errors import ConfigError

Mixer = Literal["mamba", "attention"]
FeedForward = Literal["mlp", "moe"]


class LayerKind(NamedTuple):
    """What a layer is made of: its sequence mixer and its feed-forward part."""

    mixer: Mixer
    feed_forward: FeedForward


@dataclass(frozen=True, slots=True)
class JambaConfig:
    """The sizes that the model is built from, all resolved (nothing is "auto")."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    layer_kinds: tuple[LayerKind, ...]
    num_experts: int
    experts_per_token: int
    mamba_expand: int
    mamba_d_state: int
    mamba_d_conv: int
    mamba_dt_rank: int
    mamba_conv_bias: bool
    mamba_proj_bias: bool
    rms_norm_eps: float
    tie_word_embeddings: bool
    max_context: int
    bos_id: int | None
    eos_ids: tuple[int, ...]
    dtype: str
    quantization: Mapping[str, Any] | None

    @property
    def num_layers(self) -> int:
        """How many layers there are."""
        return len(self.layer_kinds)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def mamba_inner_size(self) -> int:
        """Channels of a Mamba layer."""
        return self.mamba_expand * self.hidden_size

    def count(self, mixer: Mixer) -> int:
        """How many layers mix by `mixer`."""
        return sum(kind.mixer == mixer for kind in self.layer_kinds)

    @property
    def parameter_count(self) -> int:
        """How many numbers a checkpoint of this shape holds."""
        d, e, f = self.hidden_size, self.mamba_inner_size, self.intermediate_size
        n, r = self.mamba_d_state, self.mamba_dt_rank
        conv = e * (self.mamba_d_conv + self.mamba_conv_bias)
        mamba = 3 * d * e + conv + e * (r + 2 * n) + e * (r + 1) + (r + 2 * n) + e * (n + 1)
        mamba += self.mamba_proj_bias * (2 * e + d)
        attention = 2 * d * d + 2 * d * self.num_kv_heads * self.head_dim
        total = self.vocab_size * d * (1 if self.tie_word_embeddings else 2) + d
        for kind in self.layer_kinds:
            experts = self.num_experts if kind.feed_forward == "moe" else 1
            total += 2 * d + (attention if kind.mixer == "attention" else mamba)
            total += 3 * d * f * experts + (experts * d if experts > 1 else 0)
        return total

    @classmethod
    def from_json(cls, path: str | Path) -> JambaConfig:
        """Reads config.json (or the directory that holds it); raises ConfigError."""
        file = Path(path)
        file = file / "config.json" if file.is_dir() else file
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(
                f"{file}: not found",
                hint="a model directory holds config.json, a tokenizer and *.safetensors",
            ) from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: {error}", hint="download the model again") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: is not a JSON object")
        return cls.from_dict(values, source=str(file))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "config.json") -> JambaConfig:
        """The same from the parsed JSON; `source` is named in errors."""
        return _Reader(values, source).build()


_REQUIRED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
)  # fmt: skip

_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": None,
    "attn_layer_period": 8,
    "attn_layer_offset": 4,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "num_experts": 16,
    "num_experts_per_tok": 2,
    "mamba_expand": 2,
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "mamba_dt_rank": "auto",
    "mamba_conv_bias": True,
    "mamba_proj_bias": False,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "max_position_embeddings": 262_144,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "dtype": "bfloat16",
    "quantization_config": None,
}

_RENAMED = {
    "num_local_experts": "num_experts",
    "n_ctx": "max_position_embeddings",  # the remote code of early 2024
    "torch_dtype": "dtype",
}

# Key -> the only values that the model computes; any other value is refused.
_FIXED: dict[str, tuple[Any, ...]] = {
    "model_type": ("jamba",),
    "hidden_act": ("silu",),
    "sliding_window": (None,),
    "mamba_inner_layernorms": (True,),
    "is_encoder_decoder": (False,),
    "chunk_size_feed_forward": (0,),
    "rope_scaling": (None,),
    "rope_parameters": (None,),
}

# Keys that cannot change the logits of inference, or whose value another file repeats.
_HARMLESS = frozenset(
    {
        "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path",
        "architectures", "attention_dropout", "attn_implementation", "auto_map",
        "calc_logits_for_entire_prompt", "id2label", "initializer_range", "label2id",
        "layer_types", "layers_block_type", "num_logits_to_keep", "output_attentions",
        "output_hidden_states", "output_router_logits", "pad_token_id", "problem_type",
        "return_dict", "router_aux_loss_coef", "transformers_version", "use_associative_scan",
        "use_cache", "use_mamba_kernels", "use_mambapy",
    }
)  # fmt: skip

_DTYPES = ("float32", "bfloat16", "float16")
_LARGEST = 1 << 24  # no size of a released model is near it; keeps hostile files from allocating


class _Reader:
    """Collects every complaint about a config before raising one error that lists them."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.source = source
        self.problems: list[str] = []
        self.values = dict(_DEFAULTS)
        for key, value in values.items():
            name = _RENAMED.get(key, key)
            if name in _FIXED:
                if value not in _FIXED[name]:
                    self.problems.append(f"{key}: {value!r} is not supported")
            elif name in _DEFAULTS or name in _REQUIRED:
                self.values[name] = value
            elif name not in _HARMLESS:
                self.problems.append(f"{key}: unknown key")
        self.problems += [f"{key}: missing" for key in _REQUIRED if key not in self.values]
        if values.get("model_type") is None:
            self.problems.append("model_type: missing")

    def size(self, key: str, *, least: int = 1) -> int:
        value = self.values.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _LARGEST:
            self.problems.append(f"{key}: {value!r} is not an integer >= {least}")
            return least
        return value

    def flag(self, key: str) -> bool:
        value = self.values[key]
        if not isinstance(value, bool):
            self.problems.append(f"{key}: {value!r} is neither true nor false")
        return bool(value)

    def layer_kinds(self, num_experts: int) -> tuple[LayerKind, ...]:
        every: dict[str, tuple[int, int]] = {}
        for part in ("attn", "expert"):
            period = self.size(f"{part}_layer_period")
            offset = self.size(f"{part}_layer_offset", least=0)
            if offset >= period:
                self.problems.append(f"{part}_layer_offset: {offset} >= period {period}")
            every[part] = (period, offset)

        def hits(layer: int, part: str) -> bool:
            period, offset = every[part]
            return layer % period == offset

        return tuple(
            LayerKind(
                "attention" if hits(i, "attn") else "mamba",
                "moe" if num_experts > 1 and hits(i, "expert") else "mlp",
            )
            for i in range(min(self.size("num_hidden_layers"), 10_000))
        )

    def heads(self, hidden_size: int) -> tuple[int, int]:
        heads = self.size("num_attention_heads")
        kv_heads = heads
        if self.values["num_key_value_heads"] is not None:
            kv_heads = self.size("num_key_value_heads")
        if hidden_size % heads:
            self.problems.append(f"hidden_size: {hidden_size} is not a multiple of {heads} heads")
        if heads % kv_heads:
            self.problems.append(f"num_attention_heads: {heads} is no multiple of {kv_heads}")
        return heads, kv_heads

    def token_ids(self, key: str) -> tuple[int, ...]:
        value = self.values[key]
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids):
            self.problems.append(f"{key}: {value!r} is neither a token id nor a list of them")
            return ()
        return tuple(ids)

    def build(self) -> JambaConfig:
        hidden_size = self.size("hidden_size")
        num_experts = self.size("num_experts")
        experts_per_token = self.size("num_experts_per_tok")
        if experts_per_token > num_experts > 1:
            self.problems.append(f"num_experts_per_tok: {experts_per_token} > {num_experts}")
        heads, kv_heads = self.heads(hidden_size)
        if self.values["mamba_dt_rank"] == "auto":
            self.values["mamba_dt_rank"] = math.ceil(hidden_size / 16)
        dtype = self.values["dtype"] or "bfloat16"
        if dtype not in _DTYPES:
            self.problems.append(f"dtype: {dtype!r} is none of {', '.join(_DTYPES)}")
        eps = self.values["rms_norm_eps"]
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps < 1:
            self.problems.append(f"rms_norm_eps: {eps!r} is not between 0 and 1")
        config = {
            "vocab_size": self.size("vocab_size"),
            "hidden_size": hidden_size,
            "intermediate_size": self.size("intermediate_size"),
            "num_heads": heads,
            "num_kv_heads": kv_heads,
            "layer_kinds": self.layer_kinds(num_experts),
            "num_experts": num_experts,
            "experts_per_token": experts_per_token,
            "mamba_expand": self.size("mamba_expand"),
            "mamba_d_state": self.size("mamba_d_state"),
            "mamba_d_conv": self.size("mamba_d_conv", least=2),
            "mamba_dt_rank": self.size("mamba_dt_rank"),
            "mamba_conv_bias": self.flag("mamba_conv_bias"),
            "mamba_proj_bias": self.flag("mamba_proj_bias"),
            "rms_norm_eps": eps,
            "tie_word_embeddings": self.flag("tie_word_embeddings"),
            "max_context": self.size("max_position_embeddings"),
            "bos_id": next(iter(self.token_ids("bos_token_id")), None),
            "eos_ids": self.token_ids("eos_token_id"),
            "dtype": dtype,
            "quantization": self.values["quantization_config"],
        }
        if self.problems:
            raise ConfigError(
                f"{self.source}: {'; '.join(self.problems)}",
                hint="jamba runs models of the Jamba family; `jamba models` lists them",
            )
        return JambaConfig(**config)
