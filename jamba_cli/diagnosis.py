"""What `jamba doctor` finds out: software, models, places and the terminal."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jamba_cli.human import format_bytes
from jamba_cli.output import Output
from jamba_cli.settings import Settings, config_path
from runtime import hub, models
from runtime.errors import ModelError

Status = Literal["ok", "note", "slow", "broken"]

SUMS = "SHA256SUMS"
"""The file of an embedded model with its files' hashes, as sha256sum writes it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `advice` says what follows from it, or what to do."""

    section: str
    name: str
    value: str
    status: Status = "ok"
    advice: str = ""


def software() -> Iterator[Check]:
    """Python and the packages that change what is possible, or how fast."""
    section = "software"
    yield Check(section, "jamba", _version("jamba-cli") or "not installed, run from its source")
    yield Check(section, "Python", f"{platform.python_version()}, {sys.executable}")
    for name in ("torch", "tokenizers", "tiktoken", "safetensors"):
        version = _version(name)
        if version is None:
            yield Check(section, name, "absent", "broken", "install jamba-cli again")
        else:
            yield Check(section, name, version)
    gpu = has_nvidia_device()
    optional: list[tuple[str, Status, str]] = [
        ("triton", "slow" if gpu else "note", "kernels for GPUs; without it they run as PyTorch"),
        ("bitsandbytes", "note", "an alternative for 4-bit and 8-bit weights; never needed"),
        ("mamba-ssm", "note", "trains the embedded model, and a second opinion on the scan"),
        ("nvidia-ml-py", "note", "driver version and memory of GPUs in this report"),
    ]
    for name, status, purpose in optional:
        version = _version(name)
        if version is None:
            yield Check(section, name, "absent", status, purpose)
        else:
            yield Check(section, name, version)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def has_nvidia_device() -> bool:
    """Whether the system has an NVIDIA GPU, whatever torch makes of it."""
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def kernels(device_type: str) -> Iterator[Check]:
    """How each operation that has more than its reference runs on the device."""
    from quant.ops.dispatch import choice

    how: dict[str, tuple[str, Status]] = {
        "kernel": ("Triton kernel", "ok"),
        device_type: (f"own path for {device_type}", "ok"),
        "reference": ("PyTorch", "slow" if device_type == "cuda" else "ok"),
    }
    for package in ("runtime.ops", "quant.ops"):
        for name in _operations(package):
            value, status = how[choice(f"{package}.{name}", device_type)]
            advice = ""
            if status == "slow":
                absent = importlib.util.find_spec("triton") is None
                advice = "pip install triton" if absent else "JAMBA_KERNELS=reference is set"
            yield Check("kernels", name, value, status, advice)


def _operations(package: str) -> list[str]:
    """The operations of a package that are written for a device, by their folders."""
    specification = importlib.util.find_spec(package)
    assert specification is not None
    assert specification.submodule_search_locations is not None
    return sorted(
        folder.name
        for root in map(Path, specification.submodule_search_locations)
        for folder in root.iterdir()
        if any((folder / f"{name}.py").is_file() for name in ("cpu", "cuda", "kernel"))
    )


def model_files(settings: Settings) -> Iterator[Check]:
    """The embedded model and its hashes, and whether the chosen model is there."""
    section = "models"
    embedded = models.embedded_path(models.DEFAULT)
    if embedded is None:
        advice = "install jamba-cli again, or name a model with --model"
        yield Check(section, models.DEFAULT, "absent", "broken", advice)
    else:
        yield _verify(section, embedded)
    if settings.model != models.DEFAULT:
        try:
            path = models.resolve(settings.model)
            yield Check(section, settings.model, str(path))
        except ModelError as error:
            advice = error.hint or ""
            yield Check(section, settings.model, error.message, "broken", advice)


def _verify(section: str, directory: Path) -> Check:
    size = format_bytes(hub.weight_bytes(directory))
    try:
        lines = (directory / SUMS).read_text(encoding="ascii").splitlines()
    except OSError:
        value = f"{size}, its files are not checked: no {SUMS}"
        return Check(section, directory.name, value, "note")
    for line in lines:
        expected, _, name = line.partition("  ")
        file = directory / name
        if not file.is_file() or _sha256(file) != expected:
            advice = "install jamba-cli again"
            return Check(section, directory.name, f"{name} is damaged", "broken", advice)
    return Check(section, directory.name, f"{size}, {len(lines)} files as they were released")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def places() -> Iterator[Check]:
    """Where settings and models are kept."""
    section = "places"
    config = config_path()
    yield Check(section, "settings", f"{config}{'' if config.is_file() else ' (absent)'}")
    cache = hub.cache_directory()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    free = format_bytes(shutil.disk_usage(existing).free)
    yield Check(section, "models", f"{cache}{'' if cache.is_dir() else ' (absent)'}, {free} free")
    if not os.access(existing, os.W_OK):
        advice = "HF_HOME=DIRECTORY keeps models elsewhere"
        yield Check(section, "models", f"{existing} is read-only", "note", advice)
    yield Check(section, "embedded", str(models.ASSETS))


def terminal(output: Output, settings: Settings) -> Iterator[Check]:
    """What the two streams are attached to, and what follows for colour and progress."""
    section = "terminal"
    kinds = {True: "a terminal", False: "not a terminal"}
    size = shutil.get_terminal_size()
    columns = f", {size.columns} columns" if output.stdout_is_tty else ""
    yield Check(section, "stdout", kinds[output.stdout_is_tty] + columns)
    yield Check(section, "stderr", kinds[output.stderr_is_tty])
    origin = settings.origins.get("color")
    color = "on" if output.stdout_color or output.stderr_color else "off"
    yield Check(section, "colour", color + (f", by {origin}" if origin else ""))
    encoding = (getattr(output.stdout, "encoding", None) or "utf-8").lower()
    if encoding.replace("-", "") == "utf8":
        yield Check(section, "encoding", encoding)
    else:
        advice = "other characters are shown as escapes; set LANG to a UTF-8 locale"
        yield Check(section, "encoding", encoding, "note", advice)
