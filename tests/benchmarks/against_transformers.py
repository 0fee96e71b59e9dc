"""Prefill and decode beside transformers, on the embedded model's weights, in one run.

    python -m tests.benchmarks.against_transformers [--tokens 1024]

transformers computes in fp32 (what it is fastest at on a CPU without 16-bit matrix units) and in
the checkpoint's own bf16 (what its `from_pretrained` picks).  Both get our dequantized weights.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does, before torch

import torch
from torch import Tensor

import runtime.model
from runtime.bench import measure
from runtime.checkpoint import Checkpoint
from runtime.engine import Engine
from runtime.models import resolve

DECODE_TOKENS = 16


def transformers_model(name: str, dtype: torch.dtype) -> Any:
    """JambaForCausalLM with the weights of one of our models."""
    from transformers import JambaConfig, JambaForCausalLM

    directory = resolve(name)
    config = JambaConfig.from_pretrained(directory)
    config.__dict__.pop("quantization_config", None)
    model = JambaForCausalLM(config).to(dtype).eval()
    checkpoint = Checkpoint(directory, {"quant_method": "jamba", "scheme": "nf4"})
    tensors = {key: checkpoint.read(key).to(dtype) for key in checkpoint.tensors}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert set(missing) <= {"lm_head.weight"}, missing
    assert not unexpected, unexpected
    model.tie_weights()
    return model


@torch.inference_mode()
def time_transformers(model: Any, ids: list[int], repeats: int) -> tuple[float, float, Tensor]:
    """Seconds of prefill and of DECODE_TOKENS greedy steps, and the prompt's last logits."""
    prompt = torch.tensor([ids])
    prefills, decodes = [], []
    model(prompt[:, :16])
    for _ in range(repeats):
        started = time.perf_counter()
        out = model(prompt, use_cache=True, logits_to_keep=1)
        middle = time.perf_counter()
        logits, cache = out.logits[0, -1].float(), out.past_key_values
        token = logits.argmax()
        for _step in range(DECODE_TOKENS):
            out = model(token.view(1, 1), past_key_values=cache, use_cache=True)
            token = out.logits[0, -1].argmax()
        prefills.append(middle - started)
        decodes.append(time.perf_counter() - middle)
    return statistics.median(prefills), statistics.median(decodes), logits


def scan_seconds(engine: Engine, ids: list[int]) -> tuple[float, float]:
    """Seconds inside the selective scan, and of the whole, during one prefill."""
    spent = 0.0
    scan: Callable[..., Tensor] = runtime.model.selective_scan

    def timed(*arguments: Tensor) -> Tensor:
        nonlocal spent
        started = time.perf_counter()
        result = scan(*arguments)
        spent += time.perf_counter() - started
        return result

    runtime.model.selective_scan = timed  # type: ignore[assignment]
    try:
        started = time.perf_counter()
        engine.prefill(ids, engine.new_cache(len(ids)))
        return spent, time.perf_counter() - started
    finally:
        runtime.model.selective_scan = scan  # type: ignore[assignment]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    engine = Engine.load(options.model, device="cpu")
    ids = torch.randint(
        0, engine.config.vocab_size, (options.tokens,), generator=torch.Generator().manual_seed(0)
    ).tolist()
    ours = measure(engine, options.tokens, decode_tokens=DECODE_TOKENS, repeats=options.repeats)
    spent, whole = scan_seconds(engine, ids)
    logits = engine.prefill(ids, engine.new_cache(len(ids)))
    rows = [("jamba", ours.prefill_rate, ours.decode_rate, 0.0)]
    for dtype in (torch.float32, torch.bfloat16):
        model = transformers_model(options.model, dtype)
        prefill_s, decode_s, theirs = time_transformers(model, ids, options.repeats)
        error = float((theirs - logits).abs().max())
        name = f"transformers {str(dtype).removeprefix('torch.')}"
        rows.append((name, options.tokens / prefill_s, DECODE_TOKENS / decode_s, error))
    threads = torch.get_num_threads()
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{platform.machine()}, {threads} threads, {capability}, torch {torch.__version__}")
    print(f"{options.tokens:,} tokens of prompt, then {DECODE_TOKENS} of decode; medians of "
          f"{options.repeats}")  # fmt: skip
    print(f"{'':24}{'prefill tok/s':>14}{'decode tok/s':>14}{'max logit diff':>16}")
    for name, prefill, decode, error in rows:
        print(f"{name:24}{prefill:14.0f}{decode:14.1f}{error:16.2g}")
    for name, prefill, decode, _ in rows[1:]:
        print(f"jamba / {name}: prefill {rows[0][1] / prefill:.1f}x, "
              f"decode {rows[0][2] / decode:.1f}x")  # fmt: skip
    print(f"selective scan: {100 * spent / whole:.0f} % of prefill")


if __name__ == "__main__":
    main()
