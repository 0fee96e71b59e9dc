"""The page that documents the format tells the truth: its script reads a real context."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import torch

from runtime.contexts import Identity, Segment, manifest
from tests.runtime.contexts.reading import read

PAGE = (Path(__file__).parents[3] / "docs" / "concepts" / "context-format.md").read_text()
(SCRIPT,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_script_reads_a_context(engine, ids, store, tmp_path):
    got, cache = read(engine, ids, store)
    script = tmp_path / "read.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, store.contexts()[0].path],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    printed = json.loads(done.stdout)
    assert printed["ids"] == ids
    names = {f"{i}.{x}" for i, s in enumerate(cache.states) if hasattr(s, "k") for x in "kv"}
    assert printed["rows"] == dict.fromkeys(names, 150)
    states = {name: torch.tensor(values) for name, values in printed["states"].items()}
    assert torch.equal(states.pop("logits"), got.logits)
    for i, state in enumerate(cache.states):
        if hasattr(state, "ssm"):
            assert torch.equal(states.pop(f"{i}.ssm"), state.ssm)
            assert torch.equal(states.pop(f"{i}.conv"), state.conv)
    assert not states


def test_the_script_is_short_and_needs_little():
    assert len(SCRIPT.strip().splitlines()) <= 20
    imports = re.findall(r"^(?:import|from) (\w+)", SCRIPT, re.MULTILINE)
    assert set(imports) == {"json", "sys", "pathlib", "safetensors"}


def test_the_page_names_every_key():
    keys = {field.name for kind in (manifest.Manifest, Segment, Identity) for field in fields(kind)}
    missing = [key for key in keys if f"`{key}`" not in PAGE]
    assert missing == []
    assert f"`{manifest.FORMAT}`" in PAGE
    for way in ("--no-save", "JAMBA_NO_SAVE=1", "save = false", "JAMBA_CONTEXTS"):
        assert way in PAGE
