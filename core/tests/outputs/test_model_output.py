"""A model output is a dict, a tuple and an object at once, as users of the peer expect."""

import copy
import dataclasses
import inspect
import io
import pickle
from collections import OrderedDict

import pytest
import torch
from torch.utils import _pytree

from transept import outputs
from transept.errors import InputError
from transept.outputs import (
    BaseModelOutput,
    BaseModelOutputWithPast,
    CausalLMOutput,
    CausalLMOutputWithPast,
    GenerateDecoderOnlyOutput,
    ModelOutput,
)

FAMILY = [
    value
    for value in vars(outputs).values()
    if inspect.isclass(value) and issubclass(value, ModelOutput) and value is not ModelOutput and value.__name__[0] != "_"
]


def make(**more):
    return CausalLMOutputWithPast(logits=torch.ones(1, 2, 3), hidden_states=(torch.zeros(1), torch.ones(1)), **more)


def test_read_by_attribute_key_index_and_slice():
    out = make()
    assert out.logits is out["logits"] is out[0] is out.to_tuple()[0]
    assert out[1:] == (out.hidden_states,)
    assert out.loss is None
    assert list(out) == list(out.keys()) == ["logits", "hidden_states"]
    assert len(out) == 2
    assert "loss" not in out
    with pytest.raises(KeyError):
        out["loss"]
    with pytest.raises(IndexError):
        out[2]
    assert isinstance(out, dict)


def test_none_drops_out_and_comes_in():
    out = make(loss=torch.tensor(1.0))
    assert [*out] == ["loss", "logits", "hidden_states"]
    out.loss = None
    assert [*out] == ["logits", "hidden_states"]
    assert out.to_tuple() == (out.logits, out.hidden_states)
    out["attentions"] = (torch.ones(1),)
    assert out.attentions is out["attentions"] is out[2]


@pytest.mark.parametrize(
    "build",
    [
        lambda cls, items: cls(dict(items)),
        lambda cls, items: cls(OrderedDict(items)),
        lambda cls, items: cls(items),
        lambda cls, items: cls(tuple(items)),
        lambda cls, items: cls((name, value) for name, value in items),
        lambda cls, items: cls([[name, value] for name, value in items]),
        lambda cls, items: cls(**dict(items)),
    ],
)
@pytest.mark.parametrize("cls", [CausalLMOutputWithPast, GenerateDecoderOnlyOutput])
def test_rebuilt_from_a_mapping_or_from_pairs(build, cls):
    names = [field.name for field in dataclasses.fields(cls)][:2]
    items = [(name, torch.full((2,), float(i))) for i, name in enumerate(names)]
    made = build(cls, items)
    assert type(made) is cls
    assert list(made) == names
    assert all(getattr(made, name) is value for name, value in items)


def test_rebuilt_from_its_own_entries():
    out = make()
    made = type(out)(out)
    assert list(made) == list(out)
    assert made.logits is out.logits
    assert list(type(out)({})) == []


def test_a_first_field_that_is_no_mapping_stays():
    tensors = (torch.ones(1), torch.zeros(1))
    out = BaseModelOutput(tensors)
    assert out.last_hidden_state is tensors
    assert list(out) == ["last_hidden_state"]
    assert BaseModelOutput(iter(tensors)).last_hidden_state == tensors
    assert BaseModelOutput([]).last_hidden_state == []
    with pytest.raises(InputError, match="mixed"):
        BaseModelOutput([("last_hidden_state", tensors[0]), tensors[1]])


@pytest.mark.parametrize(
    "change",
    [
        lambda out: out.pop("logits"),
        lambda out: out.popitem(),
        lambda out: out.clear(),
        lambda out: out.update(loss=1),
        lambda out: out.setdefault("loss", 1),
        lambda out: out.__delitem__("logits"),
        lambda out: out.__ior__({"loss": 1}),
        lambda out: delattr(out, "logits"),
    ],
)
def test_entries_are_not_removed_or_merged(change):
    out = make()
    with pytest.raises(InputError, match="CausalLMOutputWithPast"):
        change(out)
    assert list(out) == ["logits", "hidden_states"]
    assert out.logits is not None


def test_keys_beyond_the_fields_survive():
    out = make()
    out["note"] = torch.ones(1)
    out.remark = "an attribute alone"
    assert out.note is out["note"]
    assert "remark" not in out
    leaves, spec = _pytree.tree_flatten(out)
    assert list(_pytree.tree_unflatten(leaves, spec)) == ["logits", "hidden_states", "note"]
    assert list(type(out)(dict(out))) == ["logits", "hidden_states", "note"]


@pytest.mark.parametrize(
    "copied",
    [lambda out: pickle.loads(pickle.dumps(out)), copy.deepcopy, copy.copy, lambda out: out.copy()],
)
def test_copies_and_pickles(copied):
    out = make()
    made = copied(out)
    assert type(made) is type(out)
    assert list(made) == list(out)
    assert torch.equal(made.logits, out.logits)
    assert made.loss is None
    made.loss = torch.ones(())
    assert out.loss is None
    assert repr(make()) == repr(make())


def test_is_a_pytree():
    out = make()
    leaves, spec = _pytree.tree_flatten(out)
    assert len(leaves) == 3
    doubled = _pytree.tree_map(lambda tensor: tensor * 2, out)
    assert type(doubled) is CausalLMOutputWithPast
    assert doubled.hidden_states[1].item() == 2
    assert doubled.loss is None
    paths = [_pytree.keystr(path) for path, _ in _pytree.tree_flatten_with_path(out)[0]]
    assert paths == ["['logits']", "['hidden_states'][0]", "['hidden_states'][1]"]
    assert _pytree.tree_unflatten(leaves, _pytree.treespec_loads(_pytree.treespec_dumps(spec))).logits is out.logits


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)

    def forward(self, x):
        hidden = self.linear(x)
        base = BaseModelOutputWithPast(last_hidden_state=hidden, hidden_states=(x, hidden))
        first = CausalLMOutput(logits=base[0])
        return CausalLMOutputWithPast(logits=first.logits + base.last_hidden_state, hidden_states=base.hidden_states)


@pytest.mark.slow
def test_compiles_in_one_graph():
    model, x = Model(), torch.ones(1, 2)
    compiled = torch.compile(model, fullgraph=True, backend="eager")(x)
    assert type(compiled) is CausalLMOutputWithPast
    assert list(compiled) == ["logits", "hidden_states"]
    torch.testing.assert_close(compiled.logits, model(x).logits)


def test_exports_saves_and_comes_back():
    model, x = Model(), torch.ones(1, 2)
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(model, (x,)), buffer)
    buffer.seek(0)
    out = torch.export.load(buffer).module()(x)
    assert type(out) is CausalLMOutputWithPast
    torch.testing.assert_close(out.logits, model(x).logits)


def test_a_subclass_must_be_a_dataclass():
    class Bare(ModelOutput):
        pass

    with pytest.raises(TypeError, match="dataclass"):
        Bare(a=1)


def test_a_strangers_dataclass_works():
    @dataclasses.dataclass
    class Mine(ModelOutput):
        first: torch.Tensor | None = None
        second: torch.Tensor | None = None

    out = Mine(second=torch.ones(1))
    assert out[0] is out.second
    assert type(_pytree.tree_map(lambda t: t, out)) is Mine


@pytest.mark.parametrize("cls", FAMILY, ids=lambda cls: cls.__name__)
def test_names_and_order_of_fields_are_the_peers(cls):
    peer_outputs = pytest.importorskip("transformers.modeling_outputs")
    peer_generation = pytest.importorskip("transformers.generation.utils")
    peer = getattr(peer_outputs, cls.__name__, None) or getattr(peer_generation, cls.__name__)
    assert [field.name for field in dataclasses.fields(cls)] == [field.name for field in dataclasses.fields(peer)]
    assert cls.__name__ in outputs.__all__


@pytest.mark.parametrize(
    "fields",
    [{"logits": 1}, {"loss": 1, "logits": 2}, {"logits": 1, "past_key_values": 3, "hidden_states": (1,)}, {"attentions": (2,)}],
)
def test_entries_are_the_peers(fields):
    peer = pytest.importorskip("transformers.modeling_outputs").CausalLMOutputWithPast
    fields = {name: torch.tensor([value]) if isinstance(value, int) else value for name, value in fields.items()}
    ours, theirs = CausalLMOutputWithPast(**fields), peer(**fields)
    assert list(ours.keys()) == list(theirs.keys())
    assert ours.to_tuple() == theirs.to_tuple()
    assert ours[0] is theirs[0]


def test_accelerate_rebuilds_it():
    operations = pytest.importorskip("accelerate.utils.operations")
    half = make(loss=torch.ones((), dtype=torch.float16))
    made = operations.convert_to_fp32(half)
    assert type(made) is CausalLMOutputWithPast
    assert made.loss.dtype is torch.float32
    assert list(made) == list(half)
