"""What a session measures, in the order of weight, and what each costs in seconds on an H100."""

from __future__ import annotations

from dataclasses import dataclass

LENGTHS = (262_144, 8_192, 130_000, 65_536, 32_768)
"""Tokens of the prompts, the most telling first."""

DECODE_TOKENS = 64
START_S = {"mini": 25.0, "3b": 15.0}
"""To import, compile kernels and make random weights."""

READ_S = {"fp8": 12.0, "int8": 17.0, "nf4": 17.0, "3b": 7.0}
"""What 262,144 tokens are thought to take."""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to measure: `kind` is read or profile, `must` says that others wait for it."""

    kind: str
    tokens: int
    repeats: int
    must: bool
    estimate_s: float

    def key(self, group: str) -> str:
        """What it is called in the results and on the command line."""
        return f"{group}:{self.kind}:{self.tokens}"


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks that share an engine, or one script that is run as it is."""

    name: str
    shape: str = "mini"
    scheme: str = "none"
    tasks: tuple[Task, ...] = ()
    script: str = ""
    size_option: str = "--tokens"
    script_s: float = 0.0

    @property
    def must_s(self) -> float:
        """What has to be left for it."""
        if self.script:
            return self.script_s
        return START_S.get(self.shape, 0.0) + sum(t.estimate_s for t in self.tasks if t.must)


def read_task(group: str, tokens: int, *, must: bool) -> Task:
    """Prefill and decode at one length."""
    each = READ_S[group] * tokens / 262_144
    repeats = 3 if tokens <= 65_536 else 2 if must else 1
    return Task("read", tokens, repeats, must, (repeats + 0.3) * each + 3)


def groups(lengths: tuple[int, ...] = LENGTHS) -> list[Group]:
    """Everything, in order; the last two are run only when they are named."""
    longest = max(lengths)
    found = []
    for scheme in ("fp8", "int8", "nf4"):
        first, *others = (
            read_task(scheme, each, must=i < 2 or (scheme, each) == ("fp8", 130_000))
            for i, each in enumerate(lengths)
        )
        profile = Task("profile", longest, 3, must=True, estimate_s=10)
        found.append(Group(scheme, "mini", scheme, (first, *others[:1], profile, *others[1:])))
    small = (read_task("3b", longest, must=True), read_task("3b", min(4096, longest), must=True))
    found.append(Group("3b", "3b", "none", small))
    found.append(Group("peer", script="peer_transformers", script_s=60))
    found.append(Group("contexts", script="saved_contexts_gpu", script_s=240))
    found.append(Group("start", script="start_up", size_option="--bytes", script_s=240))
    return found


ON_DEMAND = ("contexts", "start")
