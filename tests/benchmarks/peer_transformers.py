"""Prefill beside transformers' Jamba on the same GPU: 8 layers of a shape in bf16, in one run.

    python -m tests.benchmarks.peer_transformers [--tokens 131072] [--json]

transformers takes the CUDA scan of mamba-ssm, and it looks for the Python package: where only the
compiled `selective_scan_cuda` is there, its fallback in PyTorch would run, which wants 64 GiB at
131,072 tokens.  So a package of one function stands in then, which calls the extension as
mamba-ssm does.  Where causal-conv1d is missing, our own convolution stands in for it, which is
fast, so that the peer is not slowed by what it lacks.  `scan_calls` says whether the CUDA scan
really ran.
"""

from __future__ import annotations

import argparse
import gc
import importlib.machinery
import importlib.util
import json
import os
import statistics
import sys
import types
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does, before torch
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor

from runtime.bench import Reading, timed
from runtime.config import JambaConfig
from runtime.engine import Engine
from runtime.ops.causal_conv import causal_conv
from runtime.shapes import SHAPES

LAYERS = 8


def conv_fn(x: Tensor, weight: Tensor, bias: Tensor | None = None, **_: Any) -> Tensor:
    """x [1, e, l], weight [e, w] -> [1, e, l], with SiLU; what causal-conv1d's function does."""
    tail = x.new_zeros(weight.shape[1] - 1, x.shape[1])
    return causal_conv(x[0].t(), tail, weight.t().contiguous(), bias).t()[None]


def conv_update(
    x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """One token more: x [1, e] or [1, e, 1]; state [1, e, w] or [1, e, w - 1] moves on."""
    new = x.view(1, -1, 1)
    seen = torch.cat([state, new], -1)
    state.copy_(seen[..., -state.shape[-1] :])
    y = (seen[..., -weight.shape[-1] :] * weight).sum(-1) + (0 if bias is None else bias)
    return torch.nn.functional.silu(y).view(x.shape)


def scan_fn(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    delta_softplus: bool = False,
    return_last_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """u, delta, z [1, e, l], A [e, n], B, C [1, n, l] -> [1, e, l] and, if wanted, [1, e, n].

    What mamba-ssm's function does without a gradient.  Of each stretch of tokens the extension
    leaves pairs of decay and state.
    """
    import selective_scan_cuda

    u, delta, B, C, z = (x.contiguous() for x in (u, delta, B[:, None], C[:, None], z))
    _, pairs, gated = selective_scan_cuda.fwd(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    return (gated, pairs[:, :, -1, 1::2]) if return_last_state else gated


def stand_in_for_causal_conv1d() -> bool:
    """Puts our convolution where transformers looks for the package; False if it is installed."""
    return _stand_in(
        "causal_conv1d",
        __version__="1.6.0",
        causal_conv1d_fn=conv_fn,
        causal_conv1d_update=conv_update,
    )


def stand_in_for_mamba_ssm() -> bool:
    """Puts the extension's scan where transformers looks for the package.

    False if the package is installed, or if there is no extension either.
    """
    if importlib.util.find_spec("selective_scan_cuda") is None:
        return False
    return _stand_in("mamba_ssm", __version__="2.3.2", selective_scan_fn=scan_fn)


def _stand_in(name: str, **contents: object) -> bool:
    if importlib.util.find_spec(name) is not None:
        return False
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__.update(contents)
    sys.modules[name] = module
    return True


def count_scans(calls: list[int]) -> None:
    """Counts the runs of mamba-ssm's CUDA scan, if it is there."""
    try:
        import selective_scan_cuda as extension
    except ImportError:
        return
    forward = extension.fwd

    def counted(*arguments: Any) -> Any:
        calls[0] += 1
        return forward(*arguments)

    extension.fwd = counted


@torch.inference_mode()
def theirs(values: dict[str, Any], device: torch.device, tokens: int, repeats: int) -> list[float]:
    """Seconds of transformers' prefill of random tokens, the cache kept, as ours is."""
    from transformers import JambaConfig as TheirConfig
    from transformers import JambaForCausalLM

    config = TheirConfig(**{key: value for key, value in values.items() if key != "model_type"})
    with device:
        model = JambaForCausalLM._from_config(config, dtype=torch.bfloat16).eval()
    ids = torch.randint(0, config.vocab_size, (1, tokens), device=device)
    model(ids[:, : min(tokens, 4096)], use_cache=True, logits_to_keep=1)
    return [
        timed(lambda: model(ids, use_cache=True, logits_to_keep=1), device) for _ in range(repeats)
    ]


def ours(values: dict[str, Any], device: str, tokens: int, repeats: int) -> list[float]:
    """Seconds of our prefill with the same shape and no quantization."""
    config = JambaConfig.from_dict(values, source="the shape")
    engine = Engine.random(config, device=device, scheme="none", context=tokens + 1)
    return Reading(engine, tokens, decode_tokens=1).prefill(repeats)


def main() -> None:
    """Prints both, and ours as a share of theirs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="mini")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", type=int, default=131_072)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    values = {**SHAPES[options.shape], "num_hidden_layers": LAYERS}
    calls = [0]
    stood_in = {
        "conv_stands_in": stand_in_for_causal_conv1d(),
        "scan_stands_in": stand_in_for_mamba_ssm(),
    }
    count_scans(calls)
    found: dict[str, Any] = {"tokens": options.tokens, "layers": LAYERS}
    device = torch.device(options.device)
    own = ours(values, options.device, options.tokens, options.repeats)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    found |= {"ours_s": statistics.median(own), **stood_in}
    try:
        peer = theirs(values, device, options.tokens, options.repeats)
        found["theirs_s"] = statistics.median(peer)
        found["ratio"] = found["ours_s"] / found["theirs_s"]
    except Exception as error:  # noqa: BLE001  ours is a result without it
        found["their_error"] = f"{type(error).__name__}: {error}"[:400]
    found["scan_calls"] = calls[0]
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:16}{value}")


if __name__ == "__main__":
    main()
