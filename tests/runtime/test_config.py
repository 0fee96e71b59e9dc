"""Every released shape is understood; whatever is not understood is named."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from runtime.config import JambaConfig
from runtime.errors import ConfigError
from tests.helpers import GOLDEN, GOLDEN_NAMES

COMMON = {
    "model_type": "jamba", "vocab_size": 65536, "hidden_act": "silu", "mamba_d_state": 16,
    "mamba_d_conv": 4, "mamba_expand": 2, "mamba_conv_bias": True, "mamba_proj_bias": False,
    "rms_norm_eps": 1e-6, "max_position_embeddings": 262144, "bos_token_id": 1, "pad_token_id": 0,
    "sliding_window": None, "use_mamba_kernels": True, "architectures": ["JambaForCausalLM"],
    "torch_dtype": "bfloat16", "transformers_version": "4.40.2", "router_aux_loss_coef": 0.001,
}  # fmt: skip
V01 = COMMON | {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "attn_layer_period": 8,
    "attn_layer_offset": 4, "expert_layer_period": 2, "expert_layer_offset": 1,
    "num_experts": 16, "num_experts_per_tok": 2, "mamba_dt_rank": 256, "eos_token_id": 2,
    "tie_word_embeddings": False, "num_logits_to_keep": 1, "auto_map": {"AutoConfig": "x.Y"},
}  # fmt: skip
MINI = V01 | {"eos_token_id": [2, 518]}
JAMBA2_MINI = V01 | {"eos_token_id": 519}
LARGE = V01 | {
    "hidden_size": 8192, "intermediate_size": 24576, "num_hidden_layers": 72,
    "num_attention_heads": 64, "mamba_dt_rank": 512, "eos_token_id": [2, 518],
}  # fmt: skip
THREE = COMMON | {
    "hidden_size": 2560, "intermediate_size": 8192, "num_hidden_layers": 28,
    "num_attention_heads": 20, "num_key_value_heads": 1, "attn_layer_period": 14,
    "attn_layer_offset": 7, "num_experts": 1, "num_experts_per_tok": 1, "mamba_dt_rank": 160,
    "tie_word_embeddings": True, "eos_token_id": [2, 519],
}  # fmt: skip
TINY = V01 | {
    "hidden_size": 128, "num_hidden_layers": 8, "num_attention_heads": 2,
    "num_key_value_heads": 1, "attn_layer_period": 4, "attn_layer_offset": 2, "num_experts": 4,
    "mamba_dt_rank": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "count", "attention"),
    [
        (V01, 51_570_323_328, [4, 12, 20, 28]),
        (MINI, 51_570_323_328, [4, 12, 20, 28]),
        (LARGE, 398_555_145_696, [4, 12, 20, 28, 36, 44, 52, 60, 68]),
        (THREE, 3_029_337_472, [7, 21]),
        (TINY, 127_679_344, [2, 6]),
    ],
)
def test_released_shapes_have_their_published_parameter_counts(values, count, attention):
    config = JambaConfig.from_dict(values)
    assert config.parameter_count == count
    kinds = config.layer_kinds
    assert [i for i, kind in enumerate(kinds) if kind.mixer == "attention"] == attention
    moe = [i for i, kind in enumerate(kinds) if kind.feed_forward == "moe"]
    assert moe == ([] if config.num_experts == 1 else list(range(1, config.num_layers, 2)))


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_the_count_of_parameters_is_that_of_the_files(name):
    files = (GOLDEN / name).glob("model*.safetensors")
    stored = sum(tensor.numel() for file in files for tensor in load_file(file).values())
    assert JambaConfig.from_json(GOLDEN / name).parameter_count == stored


def test_stop_ids_of_every_spelling():
    assert JambaConfig.from_dict(MINI).eos_ids == (2, 518)
    assert JambaConfig.from_dict(JAMBA2_MINI).eos_ids == (519,)
    assert JambaConfig.from_dict(V01 | {"eos_token_id": None}).eos_ids == ()


def test_legacy_names_and_automatic_rank():
    values = {k: v for k, v in V01.items() if k != "max_position_embeddings"}
    values |= {"n_ctx": 4096, "mamba_inner_layernorms": True, "mamba_dt_rank": "auto"}
    values |= {"calc_logits_for_entire_prompt": False}
    config = JambaConfig.from_dict(values)
    assert (config.max_context, config.mamba_dt_rank) == (4096, 256)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rotary_base": 10000}, "rotary_base: unknown key"),
        ({"sliding_window": 4096}, "sliding_window: 4096 is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act: 'gelu'"),
        ({"model_type": "mamba"}, "model_type: 'mamba'"),
        ({"mamba_inner_layernorms": False}, "mamba_inner_layernorms"),
        ({"attn_layer_offset": 8}, "attn_layer_offset"),
        ({"num_key_value_heads": 7}, "num_attention_heads"),
        ({"num_attention_heads": 33}, "hidden_size"),
        ({"hidden_size": "4096"}, "hidden_size: '4096'"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"intermediate_size": 10**12}, "intermediate_size"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"torch_dtype": "int4"}, "dtype"),
        ({"eos_token_id": ["a"]}, "eos_token_id"),
        ({"num_experts_per_tok": 17}, "num_experts_per_tok"),
        ({"mamba_conv_bias": 1}, "mamba_conv_bias"),
    ],
)
def test_what_is_not_understood_is_an_error_that_names_it(change, named):
    with pytest.raises(ConfigError, match=named):
        JambaConfig.from_dict(V01 | change)


def test_all_problems_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        JambaConfig.from_dict({"model_type": "jamba", "vocab_size": -1, "novelty": 1})
    for name in ("vocab_size", "novelty", "hidden_size: missing", "num_hidden_layers: missing"):
        assert name in caught.value.message


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe\x00"])
def test_broken_files_are_config_errors(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        JambaConfig.from_json(tmp_path)


def test_a_directory_or_its_file_is_read_the_same(tmp_path):
    with pytest.raises(ConfigError, match="not found"):
        JambaConfig.from_json(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(V01))
    assert JambaConfig.from_json(tmp_path) == JambaConfig.from_json(tmp_path / "config.json")
