"""What tells one model's states from another's."""

from __future__ import annotations

import shutil
from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file, save_file

from runtime import devices
from runtime.config import JambaConfig
from runtime.contexts import identify
from runtime.contexts.identity import NUMERICS_VERSION, model_hash, numerics, tokenizer_hash
from runtime.devices import EXACT, Precision
from runtime.engine import Engine
from runtime.errors import CheckpointError, JambaError
from tests.helpers import GOLDEN
from tests.tiny_model import SHAPE, write_model

CPU = torch.device("cpu")


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


def rewrite(directory, change):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def test_a_copy_elsewhere_is_the_same_model(model, tmp_path):
    shutil.copytree(model, tmp_path / "copy")
    one, other = Engine.load(model, device="cpu"), Engine.load(tmp_path / "copy", device="cpu")
    assert identify(one) == identify(other)
    assert identify(one).scheme == "none"


def test_every_tensor_counts_and_so_does_the_config(model):
    names = list(load_file(model / "model.safetensors"))
    hashes = {model_hash(model)}
    for name in names:
        rewrite(model, lambda tensors, name=name: tensors[name].add_(1))
        hashes.add(model_hash(model))
    assert len(hashes) == len(names) + 1
    config = model / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps"', '"rms_norm_eps"') + " ")
    assert model_hash(model) not in hashes


def test_another_shape_and_another_type_are_other_models(model):
    before = model_hash(model)
    rewrite(model, lambda t: t.update({name: tensor.half() for name, tensor in t.items()}))
    assert model_hash(model) != before


def test_a_shard_more_or_less_is_another_model(tmp_path):
    shutil.copytree(GOLDEN / "odd-sharded", tmp_path / "m")
    before = model_hash(tmp_path / "m")
    next((tmp_path / "m").glob("*-00002-*")).unlink()
    assert model_hash(tmp_path / "m") != before


def test_the_limit_is_a_few_numbers_away_from_the_middle_of_a_tensor(model):
    """As documented: 4 KiB from the middle of every tensor are read, all of small ones."""
    tensors = load_file(model / "model.safetensors")
    large = max(tensors, key=lambda name: tensors[name].numel())
    assert tensors[large].nbytes > 3 * 4096
    before = model_hash(model)
    rewrite(model, lambda t: t[large].view(-1)[0].add_(1))
    assert model_hash(model) == before
    rewrite(model, lambda t: t[large].view(-1)[t[large].numel() // 2].add_(1))
    assert model_hash(model) != before


def test_every_file_of_the_tokenizer_counts(model):
    hashes = {tokenizer_hash(model)}
    for name in ("tokenizer.tiktoken", "tokenizer_config.json", "special_tokens_map.json"):
        with (model / name).open("a") as file:
            file.write(" ")
        hashes.add(tokenizer_hash(model))
    assert len(hashes) == 4


def test_numerics_hold_every_field_of_the_precision():
    narrow = Precision(torch.float32, torch.bfloat16)
    assert numerics(CPU, EXACT) != numerics(CPU, narrow)
    parts = numerics(CPU, narrow).split("-")
    assert parts[:2] == [str(NUMERICS_VERSION), "cpu"]
    assert parts[3:5] == ["float32", "bfloat16"]
    assert len(parts) == 3 + len(fields(narrow)) + 3
    assert parts[-1] == f"torch {torch.__version__}"


def test_numerics_change_with_the_libraries(monkeypatch):
    before = numerics(CPU, EXACT)
    monkeypatch.setattr("runtime.contexts.identity.version", lambda name: "99.0")
    assert numerics(CPU, EXACT) != before


def test_numerics_tell_what_products_are_computed_in(monkeypatch):
    narrow, seen = Precision(torch.float32, torch.float16), set()
    for wide in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(devices, "wide_dtype", lambda wide=wide: wide)
        seen.add(numerics(CPU, narrow))
    assert len(seen) == 2


def test_the_embedded_model_has_its_scheme():
    from types import SimpleNamespace

    from runtime.models import resolve

    directory = resolve("nano")
    config = JambaConfig.from_json(directory)
    engine = SimpleNamespace(
        directory=directory, config=config, device=CPU, precision=EXACT, scheme="none"
    )
    assert '"scheme":"nf4"' in identify(engine).scheme


def test_what_has_no_files_has_no_identity():
    with pytest.raises(JambaError, match="not loaded from files"):
        identify(Engine.random(JambaConfig.from_dict(SHAPE), device="cpu"))


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x05" + bytes(7) + b"[1,2]"])
def test_a_broken_file_is_named(model, data):
    (model / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        model_hash(model)
