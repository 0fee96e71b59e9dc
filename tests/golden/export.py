"""Writes the golden models: tiny random Jambas and their logits from the pinned transformers.

    .venv/bin/python tests/golden/export.py            # writes tests/golden/<name>/
    .venv/bin/python tests/golden/export.py --check    # recomputes and compares with what is there

Every model is one full forward in fp32, never a cached one: transformers continues a cached Mamba
state wrongly. Weights are drawn so that every tensor, every expert and the routing weights matter.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

TRANSFORMERS_PIN = "5.23.0"
HERE = Path(__file__).parent
TOKENS = 150
VOCAB = 128
EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}
METADATA = {"format": "pt"}  # transformers refuses a file without it
# Top-k must not depend on the last bits of a sum: a smaller gap could flip between implementations.
SMALLEST_ROUTING_GAP = 2e-5
LARGEST_ROUNDING = 2e-5  # the fp32 logits against fp64: well below the tolerance of the tests, 1e-4


@dataclass(frozen=True)
class Golden:
    """One tiny model: what differs from the family's defaults, and how it lies on disk."""

    name: str
    config: dict[str, Any]
    dtype: torch.dtype = torch.bfloat16  # on disk; released checkpoints are bf16 throughout
    also: tuple[str, ...] = field(default=())  # "legacy", "sharded"


BASE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "mamba_dt_rank": 6,  # "auto" would be 2: a norm over two numbers near zero amplifies rounding
    "max_position_embeddings": 4096,
}

GOLDENS = (
    Golden("default", {}, also=("legacy",)),
    Golden(
        "odd",
        {
            "hidden_size": 48,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "num_hidden_layers": 5,
            "attn_layer_period": 3,
            "attn_layer_offset": 1,
            "expert_layer_period": 3,
            "expert_layer_offset": 0,
            "num_experts": 5,
            "num_experts_per_tok": 3,
            "mamba_dt_rank": 5,
            "rms_norm_eps": 1e-5,
        },
        also=("sharded",),
    ),
    Golden(
        "dense-tied",
        {
            "tie_word_embeddings": True,
            "num_experts": 1,
            "num_experts_per_tok": 1,
            "num_hidden_layers": 8,
            "attn_layer_period": 14,
            "attn_layer_offset": 7,
            "mamba_dt_rank": 10,
            "num_key_value_heads": 1,
            "eos_token_id": [2, 119],
        },
    ),
    Golden(
        "narrow",
        {
            "hidden_size": 64,
            "mamba_expand": 1,
            "num_key_value_heads": 1,
            "num_hidden_layers": 4,
            "attn_layer_period": 4,
            "attn_layer_offset": 2,
        },
    ),
    Golden(
        "options",
        {
            "num_hidden_layers": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 4,
            "expert_layer_offset": 3,
            "mamba_d_state": 8,
            "mamba_d_conv": 3,
            "mamba_expand": 3,
            "mamba_conv_bias": False,
            "mamba_proj_bias": True,
            "rms_norm_eps": 1e-3,
            "tie_word_embeddings": True,
        },
        dtype=torch.float32,
    ),
)


def drawn(name: str, like: Tensor, tied: bool, generator: torch.Generator) -> Tensor:
    """Random values for one parameter, of a scale at which the parameter matters."""
    noise = torch.randn(like.shape, generator=generator)
    uniform = torch.rand(like.shape, generator=generator)
    fan_in = like.shape[-1]
    if tied and name.endswith("final_layernorm.weight"):  # before an output matrix of larger values
        return 0.2 + 0.6 * uniform
    if name.endswith("layernorm.weight"):
        return 0.4 + 1.2 * uniform
    if name.endswith("A_log"):
        return torch.arange(1, fan_in + 1).log() + 0.3 * noise
    if name.endswith(".D"):
        return 1 + 0.5 * noise
    if name.endswith("dt_proj.bias"):  # softplus of it: a step of 0.01 to 0.5, so memory is long
        return torch.expm1(0.01 * 50**uniform).log()
    if name.endswith("bias"):
        return 0.3 * noise
    if name.endswith("embed_tokens.weight"):
        return noise * (4 * fan_in**-0.5 if tied else 1)
    if name.endswith("router.weight"):
        return noise * 1.5 * fan_in**-0.5
    if name.endswith("lm_head.weight"):
        return noise * 2 * fan_in**-0.5
    if "conv1d" in name:
        return noise * 0.8
    gain = 0.4 if name.endswith(("out_proj.weight", "o_proj.weight", "down_proj")) else 1.0
    return noise * gain * fan_in**-0.5


def build(golden: Golden, seed: int) -> Any:
    """The model with its random weights, rounded to what the file holds, in fp32."""
    from transformers import JambaConfig, JambaForCausalLM

    config = JambaConfig(**{**BASE, **golden.config}, **EAGER)
    model = JambaForCausalLM(config).float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = drawn(name, parameter, config.tie_word_embeddings, generator)
            parameter.copy_(values.to(golden.dtype).float())
    return model


def routing(model: Any, ids: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Logits [1, l, v] of one full forward, and each router's logits [l, x] and indices [l, k]."""
    scores: list[Tensor] = []
    chosen: list[Tensor] = []

    def keep(_: Any, __: Any, output: tuple[Tensor, Tensor, Tensor]) -> None:
        scores.append(output[0].detach())
        chosen.append(output[2].detach())

    hooks = [
        module.register_forward_hook(keep)
        for name, module in model.named_modules()
        if name.endswith("router")
    ]
    logits = model(input_ids=ids, use_cache=False).logits
    for hook in hooks:
        hook.remove()
    return logits, scores, chosen


def weakness(model: Any, ids: Tensor) -> str | None:
    """Why this draw is a poor test (flat logits, idle experts or tensors, near ties), or None."""
    model.zero_grad()
    logits, scores, chosen = routing(model, ids)
    if not 1 <= logits.std() <= 3:
        return f"std of the logits is {logits.std():.2f}"
    top_k = model.config.num_experts_per_tok
    for score, index in zip(scores, chosen, strict=True):
        ordered = score.softmax(-1).sort(-1, descending=True).values
        gap = (ordered[:, top_k - 1] - ordered[:, top_k]).min()
        if gap < SMALLEST_ROUTING_GAP:
            return f"a routing gap of {gap:.1e}"
        if index.flatten().bincount(minlength=score.shape[-1]).min() < 5:
            return "an idle expert"
        kept = ordered[:, :top_k].sum(-1)
        if kept.mean() > 0.95 or kept.min() > 0.9:
            return f"routing weights sum to {kept.mean():.3f}: renormalizing would pass unseen"
    probe = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    (logits * probe).sum().backward()
    for name, parameter in model.named_parameters():
        reach = (parameter.grad * parameter.detach()).norm()  # 1 % off: about 1 % of this, seen
        if reach < 0.3:
            return f"{name} hardly matters ({reach:.1e})"
    other = ids.clone()
    other[0, 0] = (ids[0, 0] + 1) % VOCAB
    with torch.no_grad():
        exact = routing(copy.deepcopy(model).double(), ids)[0]
    if (rounding := (exact - logits).abs().max()) > LARGEST_ROUNDING:
        return f"fp32 itself is {rounding:.1e} off"
    moved = (routing(model, other)[0] - logits)[0, -1].abs().max()
    return f"the first token moves the last logits by {moved:.1e}" if moved < 1e-2 else None


def legacy_name(name: str) -> str:
    """The key that the family's first remote code (before 2024-05) used for the same tensor."""
    for new, old in (
        ("mamba.b_layernorm", "mamba.B_layernorm"),
        ("mamba.c_layernorm", "mamba.C_layernorm"),
        ("pre_ff_layernorm", "pre_moe_layernorm"),
        ("feed_forward.router", "moe.router"),
        ("feed_forward.experts", "moe.experts"),
        ("feed_forward.", "moe.experts.0."),
    ):
        if new in name:
            return name.replace(new, old)
    return name


def write_legacy(source: Path, target: Path) -> None:
    """The same model under the legacy keys of weights and config."""
    target.mkdir(exist_ok=True)
    tensors = load_file(source / "model.safetensors")
    renamed = {legacy_name(name): tensor for name, tensor in tensors.items()}
    save_file(renamed, target / "model.safetensors", METADATA)
    config = json.loads((source / "config.json").read_text())
    config["torch_dtype"] = config.pop("dtype")
    config["n_ctx"] = config.pop("max_position_embeddings")
    config["mamba_inner_layernorms"] = True
    config["calc_logits_for_entire_prompt"] = False
    config["transformers_version"] = "4.39.0"
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (target / "golden.safetensors").write_bytes((source / "golden.safetensors").read_bytes())


def write_sharded(source: Path, target: Path, count: int = 3) -> None:
    """The same model in several files with an index; one layer's tensors lie in different files."""
    target.mkdir(exist_ok=True)
    tensors = load_file(source / "model.safetensors")
    place = {name: number % count + 1 for number, name in enumerate(sorted(tensors))}
    files = {number: f"model-{number:05}-of-{count:05}.safetensors" for number in place.values()}
    for number, file in files.items():
        held = {name: tensors[name] for name, shard in place.items() if shard == number}
        save_file(held, target / file, METADATA)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {
        "metadata": {"total_size": total},
        "weight_map": {name: files[place[name]] for name in sorted(tensors)},
    }
    (target / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    for name in ("config.json", "golden.safetensors"):
        (target / name).write_bytes((source / name).read_bytes())


def export(golden: Golden) -> str:
    """Writes one model's folders; a line about it."""
    from transformers import JambaForCausalLM

    ids = torch.randint(3, VOCAB, (1, TOKENS), generator=torch.Generator().manual_seed(7))
    for seed in range(50):
        model = build(golden, seed)
        fault = weakness(model, ids)
        if fault is None:
            break
        sys.stderr.write(f"{golden.name}: seed {seed}: {fault}\n")
    else:
        raise SystemExit(f"{golden.name}: no seed among 50 is a good test")
    with torch.no_grad():
        logits, *_ = routing(model, ids)
    folder = HERE / golden.name
    folder.mkdir(exist_ok=True)
    model.to(golden.dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file(
        {"input_ids": ids, "logits": logits[0].contiguous()},
        folder / "golden.safetensors",
        METADATA,
    )
    with torch.no_grad():
        read = JambaForCausalLM.from_pretrained(folder, dtype=torch.float32, **EAGER)
        if not torch.equal(read.eval()(input_ids=ids, use_cache=False).logits, logits):
            raise SystemExit(f"{golden.name}: the files do not give back the logits")
    if "legacy" in golden.also:
        write_legacy(folder, HERE / f"{golden.name}-legacy")
    if "sharded" in golden.also:
        write_sharded(folder, HERE / f"{golden.name}-sharded")
    return f"{golden.name}: seed {seed}, logits std {logits.std():.2f}\n"


def check(golden: Golden) -> str:
    """Recomputes the logits from the committed files; a line with the largest difference."""
    from transformers import JambaForCausalLM

    folder = HERE / golden.name
    held = load_file(folder / "golden.safetensors")
    model = JambaForCausalLM.from_pretrained(folder, dtype=torch.float32, **EAGER)
    with torch.no_grad():
        logits = model.eval()(input_ids=held["input_ids"], use_cache=False).logits
    worst = (logits[0] - held["logits"]).abs().max().item()
    if worst > 1e-5:
        raise SystemExit(f"{golden.name}: logits differ by {worst:.1e} from the committed ones")
    return f"{golden.name}: differs by {worst:.1e}\n"


def main() -> None:
    """Exports every golden model, or checks the committed ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()
    found = version("transformers")
    if found != TRANSFORMERS_PIN:
        raise SystemExit(f"transformers {found} is here, golden files come from {TRANSFORMERS_PIN}")
    torch.set_num_threads(1)  # the order of sums, and with it the last bits, depends on it
    for golden in GOLDENS:
        sys.stdout.write(check(golden) if arguments.check else export(golden))
    for path in HERE.glob("*/*"):
        path.chmod(0o644)  # safetensors writes files that only their owner can read


if __name__ == "__main__":
    main()
