"""The figures that are to be reached, and what others reach on the same card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

Results = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: how it is got from the results, what it must be, what judges it.

    `low` says that less is better; `step` is the group and the tokens of a decode step.
    """

    what: str
    reach: float
    unit: str
    judged_by: str
    value: Callable[[Results], float]
    low: bool = True
    step: tuple[str, int] | None = None

    def verdict(self, results: Results) -> tuple[str, str]:
        """The value as text, and whether it is reached; raises KeyError if it was not measured."""
        value = self.value(results)
        good = value <= self.reach if self.low else value >= self.reach
        return f"{value:,.3g} {self.unit}" if value < 100 else f"{value:,.0f} {self.unit}", (
            "yes" if good else "no"
        )


def prefill_s(group: str, tokens: int) -> Callable[[Results], float]:
    """Median seconds of a prefill."""
    return lambda results: median(results[f"{group}:prefill:{tokens}"]["seconds"])


def decode_rate(group: str, tokens: int) -> Callable[[Results], float]:
    """Tokens a second of decode after so many."""

    def value(results: Results) -> float:
        found = results[f"{group}:decode:{tokens}"]
        return float(found["steps"] / median(found["seconds"]))

    return value


def peak_gb(group: str, tokens: int) -> Callable[[Results], float]:
    """GB that tensors took at most."""
    return lambda results: results[f"{group}:memory:{tokens}"]["device_peak_bytes"] / 1e9


def decode(what: str, group: str, tokens: int, reach: float, judged_by: str) -> Figure:
    """The line of a decode rate."""
    rate = decode_rate(group, tokens)
    return Figure(what, reach, "tok/s", judged_by, rate, low=False, step=(group, tokens))


def scan_ns(group: str, tokens: int) -> Callable[[Results], float]:
    """Nanoseconds of the scan for a token and a layer, in the last chunk of so many tokens."""

    def value(results: Results) -> float:
        found = results[f"{group}:profile:chunk:{tokens}"]
        seconds = {part["part"]: part["seconds"] for part in found["parts"]}
        return float(seconds["scan"] / found["new_tokens"] / MAMBA_LAYERS * 1e9)

    return value


def of(key: str, name: str) -> Callable[[Results], float]:
    """A figure as it was recorded."""
    return lambda results: float(results[key][name])


LONG, SHORT = 262_144, 8_192
MAMBA_LAYERS = 28
VLLM = "vLLM 0.24"
LLAMA = "llama.cpp Q4_K"

RESTORE = Figure("256k in fp8: restore, times the raw read of its files", 1.3, "x", "",
                 of("contexts", "restore_ratio"))  # fmt: skip

RESTORE_COLD = Figure("the same from a cold page cache", 1.3, "x", "",
                      of("contexts", "restore_cold_ratio"))  # fmt: skip

SCAN = Figure("selective scan, a token of a Mamba layer", 100, "ns", "39 by its exponentials",
              scan_ns("fp8", LONG))  # fmt: skip

FIGURES = (
    Figure("prefill 262,144 tokens, fp8", 12, "s", f"{VLLM} fp8 15.6 s", prefill_s("fp8", LONG)),
    Figure("prefill 262,144 tokens, int8", 16.5, "s", f"{VLLM} experts_int8 20.0 s",
           prefill_s("int8", LONG)),
    Figure("prefill 262,144 tokens, nf4", 16.5, "s", f"{LLAMA} 54.9 s", prefill_s("nf4", LONG)),
    Figure("prefill 8,192 tokens, fp8", 0.30, "s", f"{VLLM} 0.37 s", prefill_s("fp8", SHORT)),
    Figure("prefill 8,192 tokens, int8", 0.43, "s", f"{VLLM} 0.50 s", prefill_s("int8", SHORT)),
    Figure("prefill 131,072 tokens, 8 layers in bf16", 2.33, "s",
           "transformers with mamba-ssm 2.33 s, in an earlier session", of("peer", "ours_s")),
    Figure("the same as a share of transformers' time in the same run", 1, "",
           "transformers with mamba-ssm", of("peer", "ratio")),
    decode("decode at 8k, fp8", "fp8", SHORT, 200, f"{VLLM} 115; bandwidth 281"),
    decode("decode at 256k, fp8", "fp8", LONG, 150, f"{VLLM} 94; bandwidth 207"),
    decode("decode at 8k, int8", "int8", SHORT, 200, f"{VLLM} 113; bandwidth 281"),
    decode("decode at 256k, int8", "int8", LONG, 150, f"{VLLM} 91; bandwidth 207"),
    decode("decode at 8k, nf4", "nf4", SHORT, 300, f"{LLAMA} 185; bandwidth 469"),
    decode("decode at 256k, nf4", "nf4", LONG, 190, f"{LLAMA} 110; bandwidth 295"),
    Figure("130,000 tokens, fp8: prefill", 5.2, "s", f"Mixtral 8x7B fp8 in {VLLM} 11.0 s",
           prefill_s("fp8", 130_000)),
    decode("130,000 tokens, fp8: decode", "fp8", 130_000, 165, f"Mixtral 8x7B fp8 in {VLLM} 75"),
    Figure("peak memory at 256k, nf4", 40, "GB", "34 by the shapes", peak_gb("nf4", LONG)),
    Figure("peak memory at 256k, int8", 64, "GB", f"57 by the shapes; {VLLM} 72.6",
           peak_gb("int8", LONG)),
    Figure("peak memory at 256k, fp8", 64, "GB", f"57 by the shapes; {VLLM} 72.6",
           peak_gb("fp8", LONG)),
    Figure("start, 52 GB of int8 in the page cache: from command to first prefilled chunk", 15, "s",
           f"{VLLM} 64 s and 25 s of imports", of("start", "first_chunk_s")),
    SCAN,
    Figure("3B shape in bf16, prefill 262,144 tokens", 8, "s", "4-5 s by its parts",
           prefill_s("3b", LONG)),
    decode("3B shape in bf16, decode at 4k", "3b", 4_096, 400, "about 520 by bandwidth"),
    Figure("256k in fp8: time that saving adds", 5, "%", "", of("contexts", "saving_percent")),
    RESTORE,
    RESTORE_COLD,
    Figure("256k in fp8: second question, to the first token", 3, "s", "",
           of("contexts", "second_question_s")),
    Figure("the same inside jamba chat", 0.5, "s", "", of("contexts", "chat_second_question_s")),
)  # fmt: skip

PEERS: dict[str, tuple[tuple[int, float], ...]] = {
    "vLLM 0.24 fp8": ((8_192, 0.372), (262_000, 15.58)),
    "vLLM 0.24 experts_int8": ((8_192, 0.505), (65_536, 4.20), (262_000, 19.96)),
    "llama.cpp Q4_K": ((8_192, 1.41), (262_144, 54.9)),
}
"""Tokens and seconds of prefill, as measured by this project on one H100 80GB."""

PEERS_NOTE = (
    "vLLM 0.24.0 (torch 2.11+cu130, FlashAttention-3, CUDA graphs, chunks of 8,192), llama.cpp as "
    "vendored by llama-cpp-python 0.3.36 (CUDA 13.0, flash attention, ubatch 4096): measured by "
    "this project on one H100 80GB in an earlier session, batch 1, random weights of the same "
    "shape with all 32 layers; Mixtral 8x7B in the same vLLM; transformers 5.17 with the CUDA scan "
    "of mamba-ssm 2.3.2 likewise, 8 layers. The other ceilings are arithmetic: "
    "bytes that a step must read at 3.35 TB/s, memory by the shapes."
)
