"""`LlamaConfig` has the peer's fields and defaults, reads what the peer writes, and is read by the peer."""

import json
import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transept_llama.configuration import LlamaConfig
from transept_llama.plugin import provide_configs, provide_models

from transept.errors import ConfigError, UnknownArgumentError

SMALL = {
    "vocab_size": 99,
    "hidden_size": 64,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
ROPES = {
    "default": {"rope_type": "default", "rope_theta": 5e5},
    "linear": {"rope_type": "linear", "factor": 2.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e6},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32.0, "beta_slow": 1.0},
    "yarn, deepseek's": {"rope_type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 0.7, "attention_factor": 0.9},
    "longrope": {
        "rope_type": "longrope",
        "short_factor": [1.0 + i / 8 for i in range(8)],
        "long_factor": [2.0 + i for i in range(8)],
        "original_max_position_embeddings": 64,
        "factor": 2.0,
    },
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
        "rope_theta": 5e5,
    },
    "proportional": {"rope_type": "proportional", "partial_rotary_factor": 0.5},
}
CASES = {
    **{f"rope {name}": {"rope_parameters": rope} for name, rope in ROPES.items()},
    "labels": {"num_labels": 3},
    "named labels": {
        "id2label": {0: "no", 1: "yes"},
        "label2id": {"no": 0, "yes": 1},
        "problem_type": "multi_label_classification",
    },
    "dtype": {"dtype": "bfloat16"},
    "many ends": {"eos_token_id": [1, 2], "pad_token_id": 0, "bos_token_id": None},
    "ties and biases": {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 32},
    "outputs": {"output_attentions": True, "output_hidden_states": True, "return_dict": False, "use_cache": False},
    "floats": {"attention_dropout": 0.1, "initializer_range": 0.5, "rms_norm_eps": 1e-5, "pretraining_tp": 2},
}
NOT_COMPARED = {
    "transformers_version",
    "transept",
    "_name_or_path",
    "is_decoder",
    "add_cross_attention",
    "decoder_start_token_id",
}


def compared(config):
    return {name: value for name, value in config.to_dict().items() if name not in NOT_COMPARED}


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("transformers").LlamaConfig


def test_fields_and_defaults_are_the_peers(peer):
    assert compared(LlamaConfig()) == compared(peer())
    ours, theirs = json.loads(LlamaConfig().to_json_string()), json.loads(peer().to_json_string())
    assert ours == {name: value for name, value in theirs.items() if name != "transformers_version"}


@pytest.mark.parametrize("case", CASES)
def test_the_peer_writes_and_ours_reads(peer, tmp_path, case):
    theirs = peer(**SMALL, **CASES[case])
    theirs.save_pretrained(tmp_path)
    assert compared(LlamaConfig.from_pretrained(tmp_path)) == compared(theirs)


@pytest.mark.parametrize("case", CASES)
def test_ours_writes_and_the_peer_reads(peer, tmp_path, case):
    transformers = pytest.importorskip("transformers")
    ours = LlamaConfig(**SMALL, **CASES[case])
    ours.save_pretrained(tmp_path)
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(theirs) is peer
    assert compared(theirs) == compared(ours)
    theirs.save_pretrained(tmp_path / "again")
    again = LlamaConfig.from_pretrained(tmp_path / "again")
    assert compared(again) == compared(ours)


@pytest.mark.parametrize(
    "older",
    [
        {"rope_theta": 5e5, "rope_scaling": None},
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "dynamic", "type": "dynamic", "factor": 2.0}},
        {"rope_scaling": {"type": "yarn", "factor": 2.0}, "rope_theta": 10000},
        {"rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3"}},
        {"partial_rotary_factor": 0.5},
        {"torch_dtype": "float16"},
        {"_name_or_path": "x", "torch_dtype": None, "id2label": None},
    ],
    ids=repr,
)
def test_older_files_mean_the_same_to_both(peer, tmp_path, older):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **SMALL, **older}))
    ours, theirs = compared(LlamaConfig.from_pretrained(tmp_path)), compared(peer.from_pretrained(tmp_path))
    theirs["rope_parameters"].pop("type", None)  # the peer keeps the older key beside the current one
    assert ours == theirs


@settings(deadline=None, max_examples=30)
@given(
    heads=st.integers(1, 8),
    per_head=st.integers(1, 8),
    head_dim=st.none() | st.sampled_from([2, 8, 64]),
    groups=st.sampled_from([None, 1]),
    eos=st.none() | st.integers(-1, 9) | st.lists(st.integers(0, 9), max_size=3),
    theta=st.floats(1.0, 1e8),
    eps=st.floats(0, 1),
    labels=st.integers(0, 4),
    extra=st.dictionaries(st.text("xyz", min_size=1), st.none() | st.booleans() | st.text() | st.integers(), max_size=3),
)
def test_round_trip_through_json(heads, per_head, head_dim, groups, eos, theta, eps, labels, extra):
    config = LlamaConfig(
        hidden_size=heads * per_head * 2,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=head_dim,
        eos_token_id=eos,
        rope_theta=theta,
        rms_norm_eps=eps,
        num_labels=labels,
    )
    for name, value in extra.items():
        setattr(config, f"{name}_", value)
    for use_diff in (True, False):
        text = config.to_json_string(use_diff=use_diff)
        made = LlamaConfig.from_dict(json.loads(text))
        assert made == config
        assert made.to_json_string(use_diff=use_diff) == text
    assert pickle.loads(pickle.dumps(config)) == config


def test_what_is_left_out_follows():
    config = LlamaConfig(hidden_size=96, num_attention_heads=6)
    assert (config.head_dim, config.num_key_value_heads) == (16, 6)
    config = LlamaConfig.from_dict({"hidden_size": 96, "num_attention_heads": 6, "head_dim": None, "num_key_value_heads": None})
    assert (config.head_dim, config.num_key_value_heads) == (16, 6)
    assert LlamaConfig.from_dict({"hidden_size": 96, "num_attention_heads": 6}, num_attention_heads=3).head_dim == 32


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"hidden_size": 100, "num_attention_heads": 16}, "hidden_size"),
        ({"num_attention_heads": 32, "num_key_value_heads": 5}, "num_key_value_heads"),
        ({"num_attention_heads": 4, "num_key_value_heads": 8, "hidden_size": 64}, "num_key_value_heads"),
        ({"hidden_size": 60, "num_attention_heads": 4}, "head_dim"),
        ({"hidden_size": 4, "num_attention_heads": 8}, "hidden_size"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"initializer_range": -0.1}, "initializer_range"),
        ({"attention_dropout": 1.1}, "attention_dropout"),
        ({"hidden_act": None}, "hidden_act"),
        ({"mlp_bias": "yes"}, "mlp_bias"),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused(values, field):
    with pytest.raises(ConfigError, match=field):
        LlamaConfig(**values)
    with pytest.raises(ConfigError, match=field):
        LlamaConfig.from_dict(values)


def test_a_head_dim_of_its_own_frees_the_hidden_size():
    config = LlamaConfig(hidden_size=100, num_attention_heads=3, num_key_value_heads=1, head_dim=34)
    assert LlamaConfig.from_dict(json.loads(config.to_json_string())) == config
    assert LlamaConfig(hidden_size=16, num_attention_heads=16).head_dim == 1  # fixtures on the hub are that small


def test_a_typing_error_is_a_type_error():
    with pytest.raises(UnknownArgumentError, match="num_key_value_heads"):
        LlamaConfig(num_kv_value_heads=3)


def test_the_plugin_offers_them():
    (config,), (model,) = provide_configs(), provide_models()
    assert config.key == model.key == LlamaConfig.model_type
    assert config.config == model.config == f"{LlamaConfig.__module__}:{LlamaConfig.__qualname__}"
    assert set(model.tasks) == {
        "base",
        "causal_lm",
        "sequence_classification",
        "token_classification",
        "question_answering",
    }


def test_the_plugin_and_the_config_need_no_torch():
    code = (
        "import sys, transept_llama.plugin\n"
        "assert not {'torch', 'numpy', 'transept'} & set(sys.modules)\n"
        "from transept_llama.configuration import LlamaConfig\n"
        "LlamaConfig(torch_dtype='float16').to_json_string()\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_it_is_read_inside_compiled_graphs():
    import torch

    config = LlamaConfig(**SMALL)

    def forward(x):
        if config.attn_implementation is None and config.output_attentions is False:
            x = x * config.hidden_size + config.rms_norm_eps
        return x if config.return_dict else x + 1

    compiled = torch.compile(forward, fullgraph=True, backend="eager")
    assert torch.equal(compiled(torch.ones(2)), forward(torch.ones(2)))
    config.attn_implementation = "eager"
    assert torch.equal(compiled(torch.ones(2)), torch.ones(2))
