"""Each check fails where its promise is broken, with words about what is wrong."""

import importlib
import inspect
import sys

import pytest
from _pytest.outcomes import Failed
from transept_testing import CausalLMConformance, ConfigConformance
from transept_testing.models.suite import Case

TINY = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
HEAD = Case("causal_lm")

BROKEN = [
    ("ForgetsThePast", "test_steps_give_the_logits_of_one_pass", {"cache": "dynamic", "sizes": [1] * 9}, "dynamic cache"),
    ("ForgetsThePast", "test_text_is_the_same_with_and_without_a_cache", {"cache": "static", "kernel": "sdpa"}, "static cache"),
    ("DropsTheMask", "test_a_padded_batch_is_its_sequences", {"padding_side": "left"}, "row 1"),
    ("DropsTheMask", "test_padding_itself_does_not_matter", {"padding_side": "left"}, "other ids at the padding"),
    ("DropsTheMask", "test_a_mask_of_another_shape", {}, "attention_mask_for"),
    ("SeesTheFuture", "test_steps_give_the_logits_of_one_pass", {"cache": "dynamic", "sizes": [5, 1, 3]}, "logits"),
    ("LosesTheLastState", "test_hidden_states_of_every_layer", {}, "one more than layers"),
    ("LooksAtValues", "test_nothing_is_read_back_from_a_device", {}, "looks at values"),
    ("LooksAtValues", "test_compiles_without_a_break", {"fresh_compiler": None}, "data-dependent"),
    ("LooksUpAnyId", "test_ids_outside_the_vocabulary", {"which": "negative"}, "embed_tokens"),
    ("LooksUpAnyId", "test_an_empty_batch", {"shape": "no token"}, "embed_tokens"),
    ("DrawsInEvaluation", "test_the_same_call_gives_the_same", {}, "second call"),
    ("LeavesABuffer", "test_loaded_equals_built_in_poisoned_memory", {}, "reset_buffers"),
    ("KeepsActivations", "test_recomputed_gradients_are_the_same", {"reentrant": False}, "no layer took the flag"),
    ("SwallowsArguments", "test_an_unknown_argument_is_refused", {}, "swallows"),
    ("SwallowsArguments", "test_attention_weights_of_every_layer", {}, "need_weights"),
    ("Unties", "test_tied_weights_are_one_tensor_and_others_are_not", {}, "is not .* itself"),
    ("MissesNothing", "test_a_missing_weight_is_an_error", {}, "new_on_load"),
    ("DetachesItsLoss", "test_a_loss_reaches_every_parameter", {}, "no gradient reaches"),
    ("DetachesItsLoss", "test_a_loss_goes_down", {}, "four steps"),
    ("AlwaysAnOutput", "test_a_tuple_in_place_of_the_output", {}, "return_dict=False"),
    ("KeepsEveryLogit", "test_logits_of_some_positions", {"wanted": 1}, "shape"),
    ("StartsUnwritten", "test_every_parameter_is_initialised_in_poisoned_memory", {}, "scale"),
]


@pytest.fixture
def toy_family(toy):
    return importlib.import_module("toy_family")


def call(suite, test, arguments, tmp_path):
    """Run one check of a suite, with the fixtures that it asks for."""
    kinds = ("head", "case", "text_head", "text_case", "trained_head", "trained_case", "generator")
    given = {**dict.fromkeys(kinds, HEAD), "tmp_path": tmp_path}
    check = getattr(suite, test)
    names = inspect.signature(check).parameters
    if "poisoned_memory" not in names:
        return check(**{name: {**given, **arguments}[name] for name in names})
    poison = inspect.unwrap(type(suite).poisoned_memory)
    poison = getattr(poison, "_get_wrapped_function", lambda: poison)()
    memory = poison(suite)
    next(memory)
    try:
        return check(**{name: {**given, **arguments, "poisoned_memory": None}[name] for name in names})
    finally:
        next(memory, None)


@pytest.mark.parametrize(("sibling", "test", "arguments", "words"), BROKEN, ids=[f"{s}-{t}" for s, t, *_ in BROKEN])
def test_the_check_fails(toy_family, tmp_path, sibling, test, arguments, words):
    class Suite(CausalLMConformance):
        model_type = "toy"
        tiny = TINY

        def model_class(self, case):
            return getattr(toy_family, sibling)

    with pytest.raises((AssertionError, Failed, Exception)) as found:
        call(Suite(), test, arguments, tmp_path)
    assert isinstance(found.value, AssertionError | Failed) or "data-dependent" in words, found.value
    assert found.match(words)


@pytest.mark.parametrize(
    ("test", "arguments"), {(test, str(given)): (test, given) for _, test, given, _ in BROKEN}.values(), ids=str
)
def test_the_same_check_passes_the_sibling_that_is_whole(toy_family, tmp_path, test, arguments):
    class Suite(CausalLMConformance):
        model_type = "toy"
        tiny = TINY

    call(Suite(), test, arguments, tmp_path)


class Careless:
    """Configurations that break a promise."""

    class TakesAnything:
        def __init__(self, **values):
            known = {name: value for name, value in values.items() if name in type(self).model_fields}
            super().__init__(**known)

    class TakesAnyType:
        def __init__(self, **values):
            super().__init__(**{name: 1 if value == "many" else value for name, value in values.items()})

    class ForgetsAField:
        def to_dict(self):
            return {name: value for name, value in super().to_dict().items() if name != "hidden_size"}

    class TakesWhatDoesNotFit:
        def validate_config(self):
            pass


@pytest.mark.parametrize(
    ("sibling", "test", "arguments", "words"),
    [
        ("TakesAnything", "test_an_unknown_keyword_is_refused", {}, "DID NOT RAISE"),
        ("TakesAnyType", "test_a_wrong_type_is_refused", {}, "DID NOT RAISE"),
        ("ForgetsAField", "test_a_dict_and_back", {"variant": "wide"}, ""),
        ("TakesWhatDoesNotFit", "test_what_does_not_fit_is_refused", {"refused": {"num_attention_heads": 5}}, "DID NOT RAISE"),
    ],
)
def test_the_check_of_a_configuration_fails(toy_family, sibling, test, arguments, words):
    careless = type(sibling, (getattr(Careless, sibling), toy_family.ToyConfig), {"__module__": "toy_family"})

    class Suite(ConfigConformance):
        model_type = "toy"
        tiny = TINY
        variants = {"wide": {"hidden_size": 64}}  # noqa: RUF012

        @classmethod
        def config_class(cls):
            return careless

    with pytest.raises((AssertionError, Failed), match=words):
        getattr(Suite(), test)(**arguments)
    assert "toy_family" in sys.modules
