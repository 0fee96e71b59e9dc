"""Names of models -> directories: embedded, local, in the Hub's cache. Never the network.

`pull` in download.py is the only place that downloads.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from runtime import hub
from runtime.config import JambaConfig
from runtime.errors import CheckpointError, ConfigError, ModelError
from runtime.formats import stored_format

ASSETS = Path(__file__).parent / "assets"
DEFAULT = "nano"

APACHE = "Apache-2.0"
JAMBA_OPEN = "Jamba Open Model License"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that is known by a short name; sizes are bytes, of one sequence where they say so.

    `repo_id` is None for an embedded model.  A gated model asks for an accepted licence and a
    token.  `note` says what sets it apart.
    """

    name: str
    repo_id: str | None
    parameters: int
    licence: str
    context: int
    bytes: int
    kv_bytes_per_token: int
    state_bytes: int
    gated: bool = False
    note: str = ""
    weights_in_memory: int | None = None  # where they are not held as they are on disk

    def memory_bytes(self, context: int | None = None) -> int:
        """Weights, KV cache and state of `context` tokens; no workspace."""
        tokens = self.context if context is None else context
        weights = self.bytes if self.weights_in_memory is None else self.weights_in_memory
        return weights + self.kv_bytes_per_token * tokens + self.state_bytes


def _mini(name: str, repo: str, *, open_licence: bool = False, note: str = "") -> ModelEntry:
    fp8 = repo.endswith("-FP8")
    return ModelEntry(
        name=name,
        repo_id=f"ai21labs/{repo}",
        parameters=51_570_323_328,
        licence=APACHE if open_licence else JAMBA_OPEN,
        context=262_144,
        bytes=52_000_000_000 if fp8 else 103_140_646_656,
        kv_bytes_per_token=16_384,
        state_bytes=16_056_320,
        gated=not open_licence,
        note=note or ("FP8 weights" if fp8 else "mixture of 16 experts"),
    )


def _large(name: str, repo: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        repo_id=f"ai21labs/{repo}",
        parameters=398_555_145_696,
        licence=JAMBA_OPEN,
        context=262_144,
        bytes=797_110_291_392,
        kv_bytes_per_token=36_864,
        state_bytes=72_253_440,
        gated=True,
        note="mixture of 16 experts",
    )


def _three(name: str, repo: str, note: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        repo_id=f"ai21labs/{repo}",
        parameters=3_029_337_472,
        licence=APACHE,
        context=262_144,
        bytes=6_058_674_944,
        kv_bytes_per_token=1_024,
        state_bytes=9_318_400,
        note=note,
    )


KNOWN: tuple[ModelEntry, ...] = (
    _three("jamba2-3b", "AI21-Jamba2-3B", "dense; the smallest that answers in prose"),
    _three("jamba-reasoning-3b", "AI21-Jamba-Reasoning-3B", "dense; thinks before it answers"),
    _mini("jamba2-mini", "AI21-Jamba2-Mini", open_licence=True),
    _mini("jamba2-mini-fp8", "AI21-Jamba2-Mini-FP8", open_licence=True),
    _mini("jamba-1.7-mini", "AI21-Jamba-Mini-1.7"),
    _mini("jamba-1.7-mini-fp8", "AI21-Jamba-Mini-1.7-FP8"),
    _mini("jamba-1.6-mini", "AI21-Jamba-Mini-1.6"),
    _mini("jamba-1.5-mini", "AI21-Jamba-Mini-1.5"),
    _mini("jamba-v0.1", "Jamba-v0.1", open_licence=True, note="base model, not made for chat"),
    _large("jamba-1.7-large", "AI21-Jamba-Large-1.7"),
    _large("jamba-1.6-large", "AI21-Jamba-Large-1.6"),
    _large("jamba-1.5-large", "AI21-Jamba-Large-1.5"),
    ModelEntry(
        name="jamba-tiny-dev",
        repo_id="ai21labs/Jamba-tiny-dev",
        parameters=318_688_640,
        licence=APACHE,
        context=262_144,
        bytes=637_377_280,
        kv_bytes_per_token=1_024,
        state_bytes=1_003_520,
        note="base model for development",
    ),
)
"""The released models; sizes are derived from their configurations."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model whose files are here; `problem` says why it can't be used, where it can't."""

    name: str
    path: Path
    kind: Literal["embedded", "cached"]
    bytes: int
    problem: str | None = None


def known(name: str) -> ModelEntry | None:
    """The entry of a short name or Hub id, in any case."""
    for entry in KNOWN:
        if name.lower() in (entry.name, (entry.repo_id or entry.name).lower()):
            return entry
    return None


def embedded_path(name: str) -> Path | None:
    """The directory of an embedded model, None if there is none of this name."""
    path = ASSETS / name
    return path if "/" not in name and (path / "config.json").is_file() else None


def describe(name: str, path: Path, licence: str = "") -> ModelEntry:
    """An entry for any model directory, computed from its config.json; raises ModelError."""
    config = JambaConfig.from_json(path)
    channels = config.mamba_inner_size
    # nano is for CPUs: held in 16 bits at the most, with activations in 32.
    packed = stored_format(config.quantization, str(path / "config.json")) == "nano"
    activation = 4 if packed else 2
    mamba_bytes = channels * (4 * config.mamba_d_state + activation * (config.mamba_d_conv - 1))
    kv_numbers = 2 * config.count("attention") * config.num_kv_heads * config.head_dim
    return ModelEntry(
        name=name,
        repo_id=None,
        parameters=config.parameter_count,
        licence=licence,
        context=config.max_context,
        bytes=hub.weight_bytes(path),
        kv_bytes_per_token=activation * kv_numbers,
        state_bytes=config.count("mamba") * mamba_bytes,
        weights_in_memory=2 * config.parameter_count if packed else None,
    )


def local_models() -> list[LocalModel]:
    """The embedded models and every Jamba in the Hub's cache."""
    found = [
        LocalModel(path.name, path, "embedded", hub.weight_bytes(path), hub.missing_files(path))
        for path in sorted(ASSETS.glob("*/"))
        if (path / "config.json").is_file()
    ]
    for repo_id, path in hub.cached_snapshots():
        if _is_jamba(path):
            entry = known(repo_id)
            name = entry.name if entry else repo_id
            problem = hub.missing_files(path)
            found.append(LocalModel(name, path, "cached", hub.weight_bytes(path), problem))
    return found


def _is_jamba(path: Path) -> bool:
    try:
        JambaConfig.from_json(path)
    except ConfigError:
        return False
    return True


def resolve(name_or_path: str) -> Path:
    """The directory of a model: a path, an embedded name, a known name or Hub id in the cache.

    The embedded default wins over a directory of its name, so that it means the same wherever
    it is used.  Raises ModelError with the command that gets what is missing.
    """
    if name_or_path == DEFAULT and (embedded := embedded_path(DEFAULT)) is not None:
        return embedded
    directory = Path(name_or_path).expanduser()
    if (directory / "config.json").is_file():
        return directory
    if (embedded := embedded_path(name_or_path)) is not None:
        return embedded
    entry = known(name_or_path)
    repo_id = entry.repo_id if entry else name_or_path
    if repo_id is None or not hub.is_repo_id(repo_id) or directory.is_dir():
        raise _unknown(name_or_path, directory)
    snapshot = hub.cached_snapshot(repo_id)
    shown = entry.name if entry else repo_id
    if snapshot is None:
        raise ModelError(
            f"the model {shown} is not on this machine", hint=f"jamba models pull {shown}"
        )
    if (problem := hub.missing_files(snapshot)) is not None:
        raise CheckpointError(
            f"the download of {shown} is incomplete: {problem}",
            hint=f"jamba models pull {shown} goes on where it stopped",
        )
    return snapshot


def _unknown(name: str, directory: Path) -> ModelError:
    if name == DEFAULT:
        return ModelError(
            "the embedded model is missing from this installation", hint="install jamba-cli again"
        )
    if directory.is_dir():
        return ModelError(
            f"{directory}: holds no config.json",
            hint="a model directory holds config.json, a tokenizer and *.safetensors",
        )
    if directory.is_absolute() or name.startswith((".", "~")):
        return ModelError(f"{directory}: no such directory")
    close = get_close_matches(name.lower(), [DEFAULT, *(entry.name for entry in KNOWN)], n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    return ModelError(f"no model is called '{name}'", hint=f"{guess}'jamba models' lists them")
