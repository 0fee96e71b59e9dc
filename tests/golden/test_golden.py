"""The committed golden files are whole, consistent, and what the pinned transformers computes."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent
NAMES = ("default", "default-legacy", "odd", "odd-sharded", "dense-tied", "narrow", "options")


def tensors(name: str) -> dict[str, torch.Tensor]:
    held: dict[str, torch.Tensor] = {}
    for path in sorted((HERE / name).glob("model*.safetensors")):
        shard = load_file(path)
        assert not held.keys() & shard.keys()
        held |= shard
    return held


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_folder_is_whole(name):
    golden = load_file(HERE / name / "golden.safetensors")
    config = json.loads((HERE / name / "config.json").read_text())
    assert golden["input_ids"].shape == (1, 150)
    assert golden["logits"].shape == (150, config["vocab_size"])
    assert golden["logits"].dtype == torch.float32
    assert 1 <= golden["logits"].std() <= 3
    assert "lm_head.weight" in tensors(name) or config["tie_word_embeddings"]
    assert all(path.stat().st_size < 300_000 for path in (HERE / name).iterdir())


def test_the_sharded_model_is_the_same_as_the_whole_one():
    whole, sharded = tensors("odd"), tensors("odd-sharded")
    assert whole.keys() == sharded.keys()
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)
    index = json.loads((HERE / "odd-sharded/model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == whole.keys()
    assert len(set(index["weight_map"].values())) == 3


def test_the_legacy_model_has_the_same_tensors_under_the_old_keys():
    current, legacy = tensors("default"), tensors("default-legacy")
    assert len(current) == len(legacy)
    for new, old in {
        "model.layers.0.mamba.b_layernorm.weight": "model.layers.0.mamba.B_layernorm.weight",
        "model.layers.0.feed_forward.up_proj.weight": "model.layers.0.moe.experts.0.up_proj.weight",
        "model.layers.1.feed_forward.router.weight": "model.layers.1.moe.router.weight",
        "model.layers.1.feed_forward.experts.3.up_proj.weight": (
            "model.layers.1.moe.experts.3.up_proj.weight"
        ),
        "model.layers.4.pre_ff_layernorm.weight": "model.layers.4.pre_moe_layernorm.weight",
    }.items():
        assert torch.equal(current[new], legacy[old])
    assert not [name for name in legacy if "feed_forward" in name or "b_layernorm" in name]


def test_the_pinned_transformers_still_computes_the_committed_logits():
    try:
        found = version("transformers")
    except PackageNotFoundError:
        found = "none"
    if found != "5.23.0":
        pytest.skip(f"golden files come from transformers 5.23.0, here is {found}")
    run = subprocess.run(
        [sys.executable, HERE / "export.py", "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.count("differs by") == 5
