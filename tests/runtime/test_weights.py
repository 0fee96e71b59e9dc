"""Loading: both layouts, every complaint at once, quantized files, bounded memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from quant.ops import int8, nf4
from runtime.devices import EXACT
from runtime.engine import Engine
from runtime.errors import CheckpointError, ConfigError
from tests.helpers import GOLDEN, assert_close, golden, golden_engine
from tests.tiny_model import checkpoint_shapes


@pytest.fixture
def copy(tmp_path):
    def make(name: str):
        target = tmp_path / name
        shutil.copytree(GOLDEN / name, target)
        return target

    return make


def load(directory):
    return Engine.load(directory, device="cpu", precision=EXACT)


def test_every_missing_extra_and_misshapen_tensor_is_listed_at_once(copy):
    directory = copy("default")
    tensors = load_file(directory / "model.safetensors")
    del tensors["model.layers.3.mamba.D"], tensors["model.layers.1.feed_forward.router.weight"]
    tensors["model.layers.0.mamba.positions"] = torch.zeros(2)
    tensors["lm_head.weight"] = torch.zeros(3, 4)
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load(directory)
    message = caught.value.message
    assert "missing: model.layers.3.mamba.D" in message
    assert "missing: model.layers.1.feed_forward.router.weight" in message
    assert "unexpected: model.layers.0.mamba.positions" in message
    assert "lm_head.weight: shape [3, 4], config.json implies [128, 32]" in message


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda d: (d / "model.safetensors").unlink(), "neither model.safetensors nor"),
        (lambda d: (d / "model.safetensors").write_bytes(b"\x00" * 50), "model.safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(b""), "model.safetensors"),
        (lambda d: (d / "model.safetensors.index.json").write_text("{}"), "not a weight index"),
        (
            lambda d: (d / "model.safetensors.index.json").write_text(
                json.dumps({"weight_map": {"a": "../../etc/passwd"}})
            ),
            "outside the model",
        ),
    ],
)
def test_broken_checkpoints_are_one_clear_error(copy, damage, named):
    directory = copy("default")
    damage(directory)
    with pytest.raises(CheckpointError, match=named):
        load(directory)


def test_a_truncated_shard_is_found_before_it_is_used(copy):
    directory = copy("odd-sharded")
    shard = directory / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="00002"):
        load(directory)
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"00002-of-00003.*not found"):
        load(directory)


def test_a_tied_checkpoint_may_repeat_its_head(copy):
    directory = copy("dense-tied")
    tensors = load_file(directory / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, directory / "model.safetensors")
    ids, logits = golden("dense-tied")
    assert_close(load(directory).score(ids), logits)


def test_progress_counts_every_byte():
    seen = []
    Engine.load(
        GOLDEN / "odd-sharded", device="cpu", precision=EXACT, on_bytes=lambda *a: seen.append(a)
    )
    stored = sum(t.nbytes for t in load_file(GOLDEN / "odd" / "model.safetensors").values())
    assert seen[-1] == (stored, stored)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def quantize_file(directory) -> dict[str, torch.Tensor]:
    """Stores matrices as the embedded model does; returns what they are read as (through fp16)."""
    tensors = load_file(directory / "model.safetensors")
    stored, exact = {}, {}
    for name, tensor in tensors.items():
        if name == "model.embed_tokens.weight":
            stored[name], stored[name + "_scale"] = int8.quantize(tensor)
            exact[name] = int8.dequantize(stored[name], stored[name + "_scale"]).half().float()
        elif tensor.dim() == 2 and tensor.shape[1] % 64 == 0 and "A_log" not in name:
            stored[name], stored[name + "_absmax"] = nf4.quantize(tensor)
            exact[name] = nf4.dequantize(stored[name], stored[name + "_absmax"]).half().float()
        else:
            stored[name] = exact[name] = tensor
    save_file(stored, directory / "model.safetensors")
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "jamba", "scheme": "nf4", "block_size": 64}
    (directory / "config.json").write_text(json.dumps(config))
    return exact


def test_quantized_tensors_load_as_what_they_stand_for(copy, tmp_path):
    directory, plain = copy("dense-tied"), tmp_path / "plain"
    shutil.copytree(directory, plain)
    exact = quantize_file(directory)
    assert any(
        not torch.equal(exact[k], v) for k, v in load_file(plain / "model.safetensors").items()
    )
    save_file(exact, plain / "model.safetensors")
    ids, _ = golden("dense-tied")
    held = Engine.load(directory, device="cpu", precision=EXACT, scheme="none")
    assert_close(held.score(ids), load(plain).score(ids))


@pytest.mark.parametrize("quantization", [{"quant_method": "gptq"}, {"scheme": "nf4"}, {}])
def test_an_unknown_quantization_is_refused_by_name(copy, quantization):
    directory = copy("default")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(
        json.dumps(config | {"quantization_config": quantization})
    )
    with pytest.raises(ConfigError, match="quantization_config of method"):
        load(directory)


def test_narrow_weights_on_fp32_activations_stay_close():
    """The CPU's way: many tokens use the widened weights, few are rounded to meet them."""
    engine = Engine.load(GOLDEN / "dense-tied", device="cpu")  # the config says bfloat16
    assert engine.model.embed_tokens.dtype == torch.bfloat16
    assert engine.model.activation_dtype == torch.float32
    ids, _ = golden("dense-tied")
    exact = golden_engine("dense-tied").score(ids)
    assert_close(engine.score(ids, chunk_tokens=150), exact, torch.bfloat16)
    assert_close(engine.score(ids, chunk_tokens=1), exact, torch.bfloat16)
    assert_close(engine.score(ids, chunk_tokens=64), engine.score(ids, chunk_tokens=150))


MEASURE = """
import resource, sys
from runtime.engine import Engine
from runtime.devices import EXACT
import torch, safetensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Engine.load(sys.argv[1], device="cpu", precision=EXACT)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_loading_holds_the_weights_and_two_of_the_largest_tensors_at_most(copy):
    directory = copy("dense-tied")
    config = json.loads((directory / "config.json").read_text())
    config |= {"vocab_size": 50_000, "hidden_size": 256, "intermediate_size": 1024}
    config |= {"mamba_dt_rank": 16, "num_attention_heads": 4, "num_key_value_heads": 4}
    (directory / "config.json").write_text(json.dumps(config))
    from runtime.config import JambaConfig

    shapes = checkpoint_shapes(JambaConfig.from_json(directory))
    save_file({n: torch.ones(s) for n, s in shapes.items()}, directory / "model.safetensors")
    weights = sum(4 * torch.Size(shape).numel() for shape in shapes.values())
    largest = 4 * 50_000 * 256
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(directory)], capture_output=True, text=True, check=True
    )
    # Pages of the mapped file count as resident until the system takes them back, so the file
    # itself is allowed for; a second copy of the weights is not.
    assert int(run.stdout) * 1024 < 2 * weights + 2 * largest
