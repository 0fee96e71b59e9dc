"""Checkpoints in fp8 as others write them: read as they are, or refused by name."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from quant.experts import QuantExperts
from quant.linear import QuantLinear
from quant.ops import fp8
from runtime.checkpoint import Checkpoint
from runtime.config import JambaConfig
from runtime.devices import EXACT
from runtime.engine import Engine
from runtime.errors import CheckpointError, ConfigError
from runtime.layout import slots
from runtime.loading import Source, Wish
from runtime.quantization import named
from runtime.weights import load_model, stored_in
from tests.helpers import GOLDEN, assert_close, divergence, golden

CPU = torch.device("cpu")
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True,
                "dynamic": False,
            },
            "input_activations": {"num_bits": 8, "type": "float", "strategy": "token"},
        }
    },
    "ignore": ["lm_head", "re:.*mamba.*"],
}  # fmt: skip


def per_tensor(weight):
    scale = weight.abs().max() / fp8.LARGEST
    return (weight / scale).to(torch.float8_e4m3fn), scale


def per_channel(weight):
    codes, scale = fp8.quantize(weight)
    return codes, scale[:, None].bfloat16().float()  # [n, 1]


def per_block(weight, size=16):
    n, k = weight.shape
    scale = torch.empty(-(-n // size), -(-k // size))
    codes = torch.empty(n, k, dtype=torch.float8_e4m3fn)
    for i in range(scale.shape[0]):
        for j in range(scale.shape[1]):
            at = (slice(i * size, (i + 1) * size), slice(j * size, (j + 1) * size))
            scale[i, j] = weight[at].abs().max() / fp8.LARGEST
            codes[at] = (weight[at] / scale[i, j]).to(torch.float8_e4m3fn)
    return codes, scale


FORMS = {
    "tensor": (FP8, per_tensor, "_scale"),
    "channel": (COMPRESSED, per_channel, "_scale"),
    "block": (FP8 | {"weight_block_size": [16, 16]}, per_block, "_scale_inv"),
}


def write(directory, form: str, *, ignore: str = "lm_head|mamba"):
    """A golden model with fp8 weights; returns its directory and the tensors that they mean."""
    quantization, quantize, suffix = FORMS[form]
    shutil.copytree(GOLDEN / "default", directory)
    stored, meant = {}, {}
    for name, tensor in load_file(directory / "model.safetensors").items():
        linear = tensor.dim() == 2 and "proj" in name
        if not linear or any(part in name for part in ignore.split("|")):
            stored[name] = meant[name] = tensor
            continue
        stored[name], stored[name + suffix] = quantize(tensor)
        stored[name.removesuffix("weight") + "input_scale"] = torch.tensor(1.0)
        scale = stored[name + suffix]
        if form == "block":
            scale = scale.repeat_interleave(16, 0)[: tensor.shape[0]]
            scale = scale.repeat_interleave(16, 1)[:, : tensor.shape[1]]
        meant[name] = stored[name].float() * scale
    save_file(stored, directory / "model.safetensors")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(
        json.dumps(config | {"quantization_config": quantization})
    )
    return directory, meant


def plain(directory, tensors) -> Engine:
    shutil.copytree(GOLDEN / "default", directory)
    save_file(tensors, directory / "model.safetensors")
    return Engine.load(directory, device="cpu", precision=EXACT)


@pytest.mark.parametrize("form", FORMS)
def test_on_a_cpu_the_weights_are_widened_exactly(tmp_path, form):
    directory, meant = write(tmp_path / "fp8", form)
    ids, _ = golden("default")
    engine = Engine.load(directory, device="cpu", precision=EXACT)
    assert engine.scheme == "none"
    assert_close(engine.score(ids), plain(tmp_path / "plain", meant).score(ids))


def as_stored(directory):
    """What a GPU does with such a checkpoint, on the CPU."""
    config = JambaConfig.from_json(directory)
    source = Source("x", config, directory)
    (quantization,) = source.options("cuda", Wish())
    layers = source.stored_layers("fp8")
    return load_model(
        directory, config, device=CPU, precision=EXACT, quantization=quantization, only=layers
    )


@pytest.mark.parametrize("form", ["tensor", "channel"])
def test_the_codes_are_kept_and_what_is_not_in_fp8_stays_so(tmp_path, form):
    directory, meant = write(tmp_path / "fp8", form)
    model = as_stored(directory)
    kinds = {n: m for n, m in model.named_modules() if isinstance(m, QuantLinear | QuantExperts)}
    leaves = {name.rpartition(".")[2] for name in kinds}
    assert leaves == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj", "experts"}
    stored = load_file(directory / "model.safetensors")
    experts = kinds["layers.1.feed_forward.experts"]
    up = stored["model.layers.1.feed_forward.experts.2.up_proj.weight"]
    f = up.shape[0]
    assert torch.equal(experts.gate_up_codes[2, f:].view(torch.uint8), up.view(torch.uint8))
    ids, _ = golden("default")
    exact = plain(tmp_path / "plain", meant).score(ids)
    # By fours nothing is rounded but the weights, which were rounded before.
    assert_close(Engine(model, CPU, EXACT).score(ids, chunk_tokens=4), exact)
    assert 0 < divergence(exact, Engine(model, CPU, EXACT).score(ids)).mean() < 0.1


def test_blocks_are_given_one_scale_a_row(tmp_path):
    """Only fp8 with a scale a row can be multiplied here; the second rounding stays small."""
    directory, meant = write(tmp_path / "fp8", "block")
    config = JambaConfig.from_json(directory)
    assert not stored_in(Checkpoint(directory, config.quantization), "fp8", slots(config))
    ids, _ = golden("default")
    engine = Engine.load(directory, device="cpu", precision=EXACT, scheme="fp8")
    exact = plain(tmp_path / "plain", meant).score(ids)
    assert divergence(exact, engine.score(ids, chunk_tokens=4)).mean() < 0.05


def test_they_can_be_quantized_to_something_else(tmp_path):
    directory, meant = write(tmp_path / "fp8", "channel", ignore="lm_head")
    engine = Engine.load(directory, device="cpu", precision=EXACT, scheme="int8")
    ids, _ = golden("default")
    wanted = load_model(
        plain(tmp_path / "plain", meant).directory,
        JambaConfig.from_json(tmp_path / "plain"),
        device=CPU,
        precision=EXACT,
        quantization=named("int8"),
    )
    assert_close(engine.score(ids), Engine(wanted, CPU, EXACT).score(ids))


def test_a_weight_without_its_scale_is_named(tmp_path):
    directory, _ = write(tmp_path / "fp8", "tensor")
    stored = load_file(directory / "model.safetensors")
    name = "model.layers.1.feed_forward.experts.0.down_proj.weight"
    del stored[name + "_scale"]
    save_file(stored, directory / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"experts\.0\.down_proj.*has no scale"):
        Engine.load(directory, device="cpu")


@pytest.mark.parametrize(
    ("form", "scale", "message"),
    [
        ("channel", torch.ones(3), "3 scales for 32 rows"),
        ("block", torch.ones(5, 2), r"shape \[5, 2\] for blocks of 16 x 16"),
    ],
)
def test_scales_that_do_not_match_are_named(tmp_path, form, scale, message):
    directory, _ = write(tmp_path / "fp8", form)
    stored = load_file(directory / "model.safetensors")
    name = "model.layers.1.feed_forward.experts.0.down_proj.weight" + FORMS[form][2]
    save_file(stored | {name: scale}, directory / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        Engine.load(directory, device="cpu")


def group(**weights):
    values = COMPRESSED["config_groups"]["group_0"]["weights"] | weights
    return COMPRESSED | {"config_groups": {"group_0": {"weights": values}}}


@pytest.mark.parametrize(
    ("quantization", "named_in_error"),
    [
        (COMPRESSED | {"format": "pack-quantized"}, "format 'pack-quantized'"),
        (group(num_bits=4), "num_bits 4"),
        (group(type="int"), "type 'int'"),
        (group(strategy="group"), "strategy 'group'"),
        (group(symmetric=False), "symmetric False"),
        (COMPRESSED | {"config_groups": {}}, "no config_groups"),
        (COMPRESSED | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity"),
        ({"quant_method": "awq"}, "'awq'"),
    ],
)
def test_anything_else_is_refused_with_what_is_supported(tmp_path, quantization, named_in_error):
    shutil.copytree(GOLDEN / "default", tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {"quantization_config": quantization})
    )
    with pytest.raises(ConfigError, match=named_in_error) as caught:
        Engine.load(tmp_path / "model", device="cpu")
    assert "fp8 and compressed-tensors" in caught.value.hint
