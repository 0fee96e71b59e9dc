"""The least that each part of a chunk takes: arithmetic or bytes, at the rates of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from quant.linear import FEW_ROWS
from runtime.config import JambaConfig
from runtime.engine import Engine
from runtime.profiling.ceilings import Ceilings
from runtime.profiling.parts import Part, module_parts


@dataclass(frozen=True, slots=True)
class Load:
    """What a part has to do: FLOP of products, bytes that pass memory, exponentials."""

    flop: float = 0.0
    nbytes: float = 0.0
    exponentials: float = 0.0

    def seconds(self, ceilings: Ceilings, *, fp8: bool) -> tuple[float, str]:
        """The floor, and which of the limits it is."""
        limits = {
            "fp8 products" if fp8 else "products": self.flop
            / (ceilings.fp8_flop if fp8 else ceilings.flop),
            "bandwidth": self.nbytes / ceilings.bytes,
        }
        if ceilings.exponentials:
            limits["exponentials"] = self.exponentials / ceilings.exponentials
        name = max(limits, key=lambda each: limits[each])
        return limits[name], name


def loads(engine: Engine, past: int, new: int) -> dict[Part, Load]:
    """What a chunk of `new` tokens on top of `past` others has to do, part by part.

    Only the last token's logits are asked for: of the last layer's output the other rows count as
    nobody's work.  Intermediate tensors that can stay on the chip are not counted; a norm and the
    sum before it read two tensors and write two.
    """
    config, size = engine.config, engine.model.activation_dtype.itemsize
    d, f, e = config.hidden_size, config.intermediate_size, config.mamba_inner_size
    n, r, p = config.mamba_d_state, config.mamba_dt_rank, config.head_dim
    h, k = config.num_heads, config.num_kv_heads
    mamba, attention = config.count("mamba"), config.count("attention")
    out = _rows_out(config, new)
    row, held = d * size, _weights(engine)
    projected = 2 * (mamba * new * (d * 2 * e + e * (r + 2 * n) + r * e) + out["mamba"] * e * d)
    passed = mamba * new * (d + 3 * e) + out["mamba"] * (d + e)
    keys = attention * (past + new) * 2 * k * p * size
    last = config.layer_kinds[-1].mixer == "attention"  # whose last query is the only one
    pairs = (attention - last) * (new * past + new * (new + 1) / 2) + last * (past + new)
    heads = 2 * (attention * new * d * (h + 2 * k) * p + out["attention"] * h * p * d)
    gated = 2 * 3 * d * f
    sums = config.num_layers * new + out["moe"] + out["mlp"]
    return {
        "scan": Load(0, mamba * new * 4 * e * size, mamba * new * e * (n + 4)),
        "conv": Load(0, mamba * new * 2 * e * size),
        "mamba projections": Load(projected, held["mamba projections"] + passed * size),
        "moe": Load(
            out["moe"] * config.experts_per_token * gated,
            held["moe"] * _share_read(config, new) + out["moe"] * 2 * row,
        ),
        "dense mlp": Load(out["mlp"] * gated, held["dense mlp"] + out["mlp"] * 2 * row),
        "attention": Load(4 * h * p * pairs, keys + out["attention"] * 2 * row),
        "attention projections": Load(
            heads, held["attention projections"] + (attention * new + out["attention"]) * row
        ),
        "norms": Load(0, sums * 2 * row),
        "elementwise": Load(0, sums * 2 * row),
        "head": Load(2 * d * config.vocab_size, _head_bytes(engine, config) + 2 * new * row),
    }


def _rows_out(config: JambaConfig, new: int) -> dict[str, int]:
    """Rows that all layers of a kind give out: each all of them, but the last layer one."""
    rows: dict[str, int] = {"mamba": 0, "attention": 0, "moe": 0, "mlp": 0}
    for kind in config.layer_kinds:
        rows[kind.mixer] += new
        rows[kind.feed_forward] += new
    for part in (config.layer_kinds[-1].mixer, config.layer_kinds[-1].feed_forward):
        rows[part] -= new - 1
    return rows


def _share_read(config: JambaConfig, new: int) -> float:
    """The share of all experts' weights that is read."""
    count, layers = config.num_experts, [k.feed_forward for k in config.layer_kinds]
    rows = [new] * (len(layers) - 1) + [1]
    picked = [
        min(count, tokens * config.experts_per_token) / count
        for kind, tokens in zip(layers, rows, strict=True)
        if kind == "moe"
    ]
    return sum(picked) / max(1, len(picked))


def _weights(engine: Engine) -> dict[Part, float]:
    """Bytes of the weights of each part."""
    held: dict[Part, float] = {"moe": 0, "dense mlp": 0}
    held |= {"mamba projections": 0, "attention projections": 0}
    for module, part in module_parts(engine.model):
        if part in held:
            held[part] += sum(_bytes(module))
    return held


def _bytes(module: nn.Module) -> Iterator[int]:
    for parameter in module.parameters():
        yield parameter.nbytes


def _head_bytes(engine: Engine, config: JambaConfig) -> int:
    head = engine.model.lm_head
    if head is None:
        return engine.model.embed_tokens.nbytes
    assert isinstance(head, nn.Module)
    return sum(_bytes(head))


def uses_fp8(engine: Engine, part: Part, new: int) -> bool:
    """Whether a part's products of this many rows run on fp8 units."""
    quantized = {"moe": "experts", "dense mlp": "mlp"}
    quantized |= {"mamba projections": "mamba", "attention projections": "attention"}
    if engine.scheme != "fp8" or engine.device.type != "cuda" or new <= FEW_ROWS:
        return False
    kept = () if engine.setup is None else engine.setup.plan.keep
    return part in quantized and quantized[part] not in kept
