"""`torch.onnx.export(model, …, dynamic_axes=…)` as people write it, for every family: onnxruntime gives the model's numbers."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from transept.discovery import load_object, registry

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CONFIGS: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parents[1] / "models" / "tiny.toml").read_text())
SIZES = ((3, 9), (1, 4), (2, 17), (5, 3), (1, 30))
QUICK = ("bert", "llama")
OLD = ("albert", "bart", "bert", "distilbert", "gpt2", "gpt_neox", "roberta", "vit", "whisper")
"""Families that the exporter torch had before (`dynamo=False`) knows every operator of; it has no RMS norm."""


def made(family: str, task: str) -> Any:
    record = registry.get("models", family)
    torch.manual_seed(0)
    return load_object(record.tasks[task], owner=family)(load_object(record.config, owner=family)(**CONFIGS[family])).eval()


def example(family: str, batch: int, length: int) -> dict[str, Tensor]:
    """What a family's base model needs, in the order of its `forward`."""
    if family == "vit":
        return {"pixel_values": torch.randn(batch, 3, 16, 16)}
    if family == "whisper":
        ids = torch.randint(3, 97, (batch, length))
        return {"input_features": torch.randn(batch, 6, 20), "attention_mask": torch.ones(batch, 20), "decoder_input_ids": ids}
    ids = {"input_ids": torch.randint(3, 97, (batch, length))}
    if family not in ("bart", "t5"):
        return ids
    # `dynamic_axes` counts the inputs by position, and so leaves none out
    mask = torch.ones(batch, length, dtype=torch.long)
    return {**ids, "attention_mask": mask, "decoder_input_ids": torch.randint(3, 97, (batch, length + 1))}


def axes(inputs: Mapping[str, Tensor]) -> dict[str, dict[int, str]]:
    fixed = {name for name in inputs if name in ("pixel_values", "input_features")}
    if fixed:
        fixed.add("attention_mask")
    return {name: {0: "batch_size", **({} if name in fixed else {1: f"{name}_length"})} for name in inputs}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters about themselves
        yield
    torch.set_num_threads(before)


def check(family: str, task: str, tmp_path: Path, *, dynamo: bool) -> None:
    model, inputs = made(family, task), example(family, 3, 9)
    path = str(tmp_path / "model.onnx")
    with torch.no_grad():
        fields = [name for name, value in model(**inputs).items() if isinstance(value, Tensor)]
    torch.onnx.export(
        model,
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=fields,
        dynamic_axes={**axes(inputs), fields[0]: {0: "batch_size"}},
        dynamo=dynamo,
    )
    session = onnxruntime.InferenceSession(path)
    named = [one.name for one in session.get_inputs()]
    assert [name for name in inputs if name in named] == named
    assert set(inputs) - set(named) <= ({"attention_mask"} if family == "whisper" else set()), "Whisper looks at no mask"
    assert [one.name for one in session.get_outputs()] == fields, "a plain export carries no cache"
    for batch, length in SIZES:
        given = example(family, batch, length)
        with torch.no_grad():
            expected = model(**given)
        found = session.run(None, {name: given[name].numpy() for name in named})
        for name, value in zip(fields, found, strict=True):
            scale = float(expected[name].abs().max())
            torch.testing.assert_close(torch.from_numpy(value), expected[name], rtol=0, atol=1e-5 * scale)


def test_the_missions_example_traces_a_batch_of_one(tmp_path: Path) -> None:
    """A size of one, of an axis that is said to vary, stands for any size."""
    model, path = made("bert", "base"), str(tmp_path / "bert.onnx")
    names = {0: "batch_size", 1: "sequence_length"}
    torch.onnx.export(
        model,
        torch.randint(3, 97, (1, 64)),
        path,
        input_names=["input_ids"],
        output_names=["last_hidden_state"],
        dynamic_axes={"input_ids": names, "last_hidden_state": names},
    )
    session = onnxruntime.InferenceSession(path)
    for batch, length in SIZES:
        ids = torch.randint(3, 97, (batch, length))
        found = torch.from_numpy(session.run(None, {"input_ids": ids.numpy()})[0])
        with torch.no_grad():
            torch.testing.assert_close(found, model(ids).last_hidden_state, rtol=0, atol=1e-5)


def test_every_family_is_here() -> None:
    assert sorted(CONFIGS) == registry.keys("models")


@pytest.mark.parametrize(
    "family", [pytest.param(family, marks=() if family in QUICK else (pytest.mark.slow,)) for family in CONFIGS]
)
def test_a_base_model_is_exported_for_any_batch_and_length(family: str, tmp_path: Path) -> None:
    check(family, "base", tmp_path, dynamo=True)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gpt2", "gpt_neox"])
def test_a_language_model_is_exported_for_any_batch_and_length(family: str, tmp_path: Path) -> None:
    check(family, "causal_lm", tmp_path, dynamo=True)


@pytest.mark.parametrize("family", OLD)
def test_torchs_older_exporter_follows_too(family: str, tmp_path: Path) -> None:
    check(family, "base", tmp_path, dynamo=False)


def test_a_cache_is_among_the_outputs_where_it_is_asked_for() -> None:
    ids = torch.randint(3, 97, (2, 6))
    model = made("llama", "causal_lm")
    plain = torch.export.export(model, (ids,), strict=False).module()(ids)
    asked = torch.export.export(model, (ids,), {"use_cache": True}, strict=False).module()(ids, use_cache=True)
    assert plain.get("past_key_values") is None
    assert asked.past_key_values.get_seq_length() == 6
    assert model(ids).past_key_values.get_seq_length() == 6
