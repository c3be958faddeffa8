"""What a model's checks are made of: the cases, their models, inputs and labels. A plugin's class sets and overrides these."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from transept.discovery import load_object, registry
from transept.errors import AttentionError

from ..filling import fill, token_ids
from ..peer import peer_class
from ..standard import Conformance

__all__ = ["Case", "ModelSuite"]


@dataclass(frozen=True)
class Case:
    """One class of the family in one shape."""

    task: str
    """A key of `ModelSpec.tasks`."""
    variant: str = ""
    """A key of `variants`; empty for the tiny configuration as it is."""

    def __str__(self) -> str:
        return f"{self.task}-{self.variant}" if self.variant else self.task


class ModelSuite(Conformance, standard=True):
    """Cases, models, inputs and labels.

    Tests take a `head` (each class in the tiny shape) or a `case` (each class in each shape), or those of a kind:
    `trained_…` has a loss, a `task_head` is no base, a `labelled_head` is as wide as there are labels, a `bounded_head` has a last
    position, a `text_head` reads token ids, a `cross_head` serves an encoder's states.
    """

    model_type: ClassVar[str]
    """The key of the plugin's records."""
    tiny: ClassVar[Mapping[str, Any]]
    """Keywords of a small configuration: two layers or more, a vocabulary of about a hundred, a `pad_token_id`."""
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """More shapes by name, as changes of `tiny`: `{"tied": {"tie_word_embeddings": True}, "one key head": {…}}`."""
    heads: ClassVar[Sequence[str] | None] = None
    """Tasks to test; None: all that the plugin's record has."""
    golden: ClassVar[Mapping[str, float]] = {}
    """By task, the checksum of the tiny model's outputs; `test_outputs_are_the_golden_ones` says what they are."""
    peer: ClassVar[str | None] = None
    """Prefix of the peer's classes, "Bert" for `transformers.BertConfig`; None: no comparison."""
    tolerance: ClassVar[float] = 1e-4
    """Largest difference that counts as equal in float32, relative to the largest value."""

    reads_text: ClassVar[bool] = True
    """Token ids come in. False, for images and sound: override `inputs`; what is about ids and padding is left out."""
    supports_hidden_states: ClassVar[bool] = True
    supports_attention_weights: ClassVar[bool] = True
    supports_cache: ClassVar[bool] = True
    """Classes whose `forward` takes `past_key_values` serve a cache."""
    supports_cross_attention: ClassVar[bool] = False
    """A decoder that takes `encoder_hidden_states` serves them; `cross_attention` says with which changes of `tiny`."""
    supports_gradient_checkpointing: ClassVar[bool] = True
    supports_inputs_embeds: ClassVar[bool] = True
    supports_resizing: ClassVar[bool] = True
    """`resize_token_embeddings` works."""
    supports_compile: ClassVar[bool] = True
    supports_export: ClassVar[bool] = True
    supports_onnx: ClassVar[bool] = True
    padding_sides: ClassVar[Sequence[str]] = ("right",)
    """Sides on which padding changes nothing. Positions that are counted from a table's start rule out "left"."""
    position_table: ClassVar[str | None] = None
    """The configuration's field that says how many positions the model has; None: it has no table that could end."""
    first_position: ClassVar[int] = 0
    """The number of a row's first position; a table's rows before it are for something else."""
    cross_attention: ClassVar[Mapping[str, Any]] = {"is_decoder": True, "add_cross_attention": True}
    labelled: ClassVar[Sequence[str]] = ("sequence_classification", "token_classification", "image_classification")
    """Tasks whose head has a size that `num_labels` decides."""
    without_loss: ClassVar[Sequence[str]] = ("base", "text_encoding")
    """Tasks whose class takes no labels."""
    cross_attending: ClassVar[Sequence[str]] = ("base", "causal_lm")
    """Tasks whose class takes `encoder_hidden_states`, where `supports_cross_attention`."""

    _pairs: ClassVar[dict[Case, tuple[Any, Any]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._pairs = {}

    # -- cases -------------------------------------------------------------------------------------------------------------

    @classmethod
    def record(cls) -> Any:
        """The plugin's `ModelSpec`."""
        return registry.get("models", cls.model_type)

    @classmethod
    def tasks(cls) -> list[str]:
        """The tasks under test."""
        return list(cls.record().tasks if cls.heads is None else cls.heads)

    def cases(self) -> Mapping[str, Callable[[], Sequence[Any]]]:
        def heads(wanted: Callable[[str], bool] = lambda task: True) -> list[Case]:
            return [Case(task) for task in self.tasks() if wanted(task)]

        def cases(tasks: Sequence[Case]) -> list[Case]:
            return [Case(case.task, variant) for case in tasks for variant in ("", *self.variants)]

        def trained() -> list[Case]:
            return heads(lambda task: task not in self.without_loss)

        return {
            "head": heads,
            "case": lambda: cases(heads()),
            "trained_head": trained,
            "trained_case": lambda: cases(trained()),
            "task_head": lambda: heads(lambda task: task != "base") if "base" in self.tasks() else [],
            "text_head": lambda: heads() if self.reads_text else [],
            "text_case": lambda: cases(heads()) if self.reads_text else [],
            "labelled_head": lambda: heads(lambda task: task in self.labelled),
            "bounded_head": lambda: heads() if self.position_table is not None else [],
            "cross_head": lambda: heads(lambda task: task in self.cross_attending) if self.supports_cross_attention else [],
            "padding_side": lambda: self.padding_sides if self.reads_text else [],
            "kernel": lambda: registry.keys("attention"),
        }

    # -- models ------------------------------------------------------------------------------------------------------------

    def model_class(self, case: Case) -> Any:
        return load_object(self.record().tasks[case.task], owner=self.model_type)

    def config(self, case: Case, **changes: Any) -> Any:
        """The configuration of a case; keywords change it further."""
        config_class = load_object(self.record().config, owner=self.model_type)
        values = {**self.tiny, **self.variants.get(case.variant, {}), **changes}
        return config_class(**copy.deepcopy(values))

    def model(self, case: Case, **changes: Any) -> Any:
        """A new model in evaluation mode, whose weights follow from their names alone."""
        model = self.model_class(case)(self.config(case, **changes))
        fill(model)
        return model.eval()

    def peer_model_class(self, case: Case) -> Any:
        """The peer's class for a case: the one of the same name."""
        return peer_class(self, self.model_class(case).__name__)

    @pytest.fixture
    def pair(self, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], tuple[Any, Any]]:
        """`pair(case) -> (ours, the peer's)` with the same weights; shared by tests, so not to be changed."""
        made = self._pairs

        def pair(case: Case) -> tuple[Any, Any]:
            peer = self.peer_model_class(case)
            if case not in made:
                folder = tmp_path_factory.mktemp("ours")
                ours = self.model(case)
                ours.save_pretrained(folder)
                made[case] = ours, peer.from_pretrained(folder, attn_implementation="eager").eval()
            return made[case]

        return pair

    def reload(self, model: Any, folder: Path, **arguments: Any) -> Any:
        """The same model after a save and a load."""
        model.save_pretrained(folder)
        return type(model).from_pretrained(folder, **arguments)

    def use_kernel(self, model: Any, kernel: str) -> None:
        """Bind an installed kernel; skips where it says that it can't serve this model."""
        try:
            model.set_attention(kernel)
        except AttentionError as error:
            pytest.skip(f"the kernel refuses: {error}")

    @pytest.fixture(autouse=True)
    def _one_thread(self) -> Iterator[None]:
        """Tensors are tiny here: more threads only wait for each other."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    @pytest.fixture
    def poisoned_memory(self) -> Iterator[None]:
        """Every `torch.empty` and its kin give NaN."""
        before = torch.are_deterministic_algorithms_enabled()
        filled = torch.utils.deterministic.fill_uninitialized_memory
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = True
        assert torch.empty(3).isnan().all()
        yield
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(before)

    # -- inputs ------------------------------------------------------------------------------------------------------------

    def takes(self, case: Case, name: str) -> bool:
        """The class's `forward` has an argument of that name."""
        return name in inspect.signature(self.model_class(case).forward).parameters

    def ordinary_ids(self, config: Any) -> list[int]:
        """Token ids without a meaning of their own."""
        special = set()
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "sep_token_id"):
            value = config.get(name)
            special |= set(value) if isinstance(value, list | tuple) else {value}
        return [index for index in range(config.vocab_size) if index not in special]

    def inputs(self, case: Case, *, batch: int = 2, length: int = 9, seed: int = 0, **changes: Any) -> dict[str, Tensor]:
        """Arguments of `forward` without padding, labels or mask: the same for the same call.

        Token ids (batch, length), or (batch, 2, length) where sequences are choices; token types where the family has several.
        An encoder–decoder's ids end with `eos_token_id`, and a class that decodes gets `decoder_input_ids` (batch, length - 2).
        """
        config = self.config(case, **changes)
        ordinary = self.ordinary_ids(config)
        choices = case.task == "multiple_choice" or self.takes(case, "mc_token_ids")
        shape = (batch, 2, length) if choices else (batch, length)
        found = {"input_ids": token_ids(shape, ordinary, seed)}
        if config.is_encoder_decoder and isinstance(config.eos_token_id, int):
            found["input_ids"][..., -1] = config.eos_token_id
        if self.takes(case, "token_type_ids") and config.get("type_vocab_size", 2) > 1:
            found["token_type_ids"] = token_ids(shape, [0, 1], seed + 1)
        if self.takes(case, "mc_token_ids"):
            found["mc_token_ids"] = torch.full((batch, 2), 2)
        decodes = self.takes(case, "decoder_input_ids")
        if decodes and case.task not in ("sequence_classification", "question_answering"):
            found["decoder_input_ids"] = token_ids((batch, length - 2), ordinary, seed + 2)
        return found

    labels_of: ClassVar[Mapping[str, str]] = {
        "logits": "labels",
        "prediction_logits": "labels",
        "seq_relationship_logits": "next_sentence_label",
        "mc_logits": "mc_labels",
        "start_logits": "start_positions",
        "end_logits": "end_positions",
    }
    """Which argument holds the labels of which output."""

    def labels(self, case: Case, model: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Labels for each kind of logits that the class returns: one of their classes at each place."""
        assert any(self.takes(case, name) for name in ("labels", "start_positions")), (
            "`forward` takes no labels. If the class has no loss, add its task to `without_loss`"
        )
        with torch.no_grad():
            output = model(**inputs)
        found: dict[str, Tensor] = {}
        for name, argument in self.labels_of.items():
            logits = output.get(name)
            if logits is not None and self.takes(case, argument):
                found[argument] = token_ids(tuple(logits.shape[:-1]), list(range(logits.shape[-1])), len(name))
        if "start_positions" in found:
            for index, argument in enumerate(("start_positions", "end_positions")):
                found[argument] = token_ids(output.start_logits.shape[:1], list(range(output.start_logits.shape[1])), index)
        return found

    def by_our_names(self, of_the_peer: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The peer's parameters, or gradients, under our names: override it where its modules are called otherwise than in files."""
        return of_the_peer

    def main_input(self, case: Case) -> str:
        """The argument that the model reads: `input_ids`, `pixel_values`, …"""
        return str(self.model_class(case).main_input_name)

    def masked(self, case: Case) -> tuple[dict[str, Tensor], list[slice]]:
        """A batch of two, padded and with a mask where the model reads text, and where each row's tokens stand."""
        if self.reads_text:
            batch, _, places = self.padded(case)
            return batch, places
        return self.inputs(case), [slice(None), slice(None)]

    def padded(
        self, case: Case, lengths: Sequence[int] = (9, 5), side: str = "right", **changes: Any
    ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]], list[slice]]:
        """A batch of sequences of these lengths with its mask, each of them alone, and where each one's tokens stand."""
        singles = [self.inputs(case, batch=1, length=n, seed=10 * i, **changes) for i, n in enumerate(lengths)]
        width, pad = max(lengths), self.config(case, **changes).pad_token_id or 0
        batch: dict[str, Tensor] = {}
        for name in singles[0]:
            if name.startswith("decoder_"):  # of one length: padding is the encoder's
                for single in singles:
                    single[name] = single[name][:, : min(lengths) - 2]
            rows = [single[name] for single in singles]
            if rows[0].shape[-1] == lengths[0]:
                value = pad if name == "input_ids" else 0
                rows = [_pad(row, width, side, value) for row in rows]
            batch[name] = torch.cat(rows)
        ones = [torch.ones_like(single["input_ids"]) for single in singles]
        batch["attention_mask"] = torch.cat([_pad(one, width, side, 0) for one in ones])
        places = [slice(0, n) if side == "right" else slice(width - n, width) for n in lengths]
        return batch, singles, places


def _pad(row: Tensor, width: int, side: str, value: int) -> Tensor:
    missing = width - row.shape[-1]
    return torch.nn.functional.pad(row, (0, missing) if side == "right" else (missing, 0), value=value)
