"""Copies, pickles, moves, and the memory that a model stands in."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch

from ..comparing import assert_outputs_equal
from .suite import Case, ModelSuite

__all__ = ["CopyChecks"]


class CopyChecks(ModelSuite, standard=True):
    """A model is an ordinary torch module."""

    @torch.no_grad()
    def test_copies_and_pickles_are_models_of_their_own(self, case: Case) -> None:
        model, inputs = self.model(case), self.inputs(case)
        expected = model(**inputs)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert type(other) is type(model)
            assert_outputs_equal(other(**inputs), expected, 0.0, "a copy")
            for target, source in other.tied_weights.items():
                assert other.get_parameter(target) is other.get_parameter(source), f"`{target}` of a copy is tied no more"
            for parameter in other.parameters():
                parameter.zero_()
            other.config.num_labels = 19
        assert model.config.num_labels != 19, "a copy shares the configuration"
        assert_outputs_equal(model(**inputs), expected, 0.0, "the model after its copies were emptied")

    @torch.no_grad()
    def test_a_state_dict_loads_strictly(self, case: Case) -> None:
        model, inputs = self.model(case), self.inputs(case)
        other = self.model_class(case)(self.config(case)).eval()
        other.load_state_dict(model.state_dict(), strict=True)
        assert_outputs_equal(other(**inputs), model(**inputs), 0.0, "a model with this state")

    @torch.no_grad()
    def test_double_precision_runs(self, head: Case) -> None:
        model, inputs = self.model(head), self.inputs(head)
        expected = model(**inputs)
        assert_outputs_equal(model.double()(**inputs), expected, 1e-4, "in float64")

    @torch.no_grad()
    def test_loaded_equals_built_in_poisoned_memory(self, case: Case, tmp_path: Path, poisoned_memory: None) -> None:
        built, inputs = self.model(case), self.inputs(case)
        loaded = self.reload(built, tmp_path)
        for name, buffer in loaded.named_buffers():
            assert torch.equal(buffer, built.get_buffer(name)), (
                f"the buffer `{name}` is not what building makes it: give its module `reset_buffers(device)`"
            )
        for name, parameter in loaded.named_parameters():
            assert torch.equal(parameter, built.get_parameter(name)), f"`{name}` is not what was saved"
        assert_outputs_equal(loaded(**inputs), built(**inputs), 0.0, "a loaded model")

    def test_every_parameter_is_initialised_in_poisoned_memory(self, case: Case, poisoned_memory: None) -> None:
        model = self.model_class(case)(self.config(case))
        left = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
        assert not left, f"{left} start as whatever memory held: initialise them in `_init_weights`"

    @torch.no_grad()
    def test_accelerate_converts_the_outputs(self, head: Case) -> None:
        library = pytest.importorskip("accelerate.utils", reason="accelerate is not installed")
        model, inputs = self.model(head).to(torch.bfloat16), self.inputs(head)
        output = library.convert_outputs_to_fp32(model.forward)(**inputs)
        assert type(output) is type(model(**inputs)), "the output's class is lost on the way"
        for name, value in output.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == torch.float32, f"`{name}` stays {value.dtype}"
        doubled = library.recursively_apply(lambda tensor: tensor * 2, output)
        assert type(doubled) is type(output)
