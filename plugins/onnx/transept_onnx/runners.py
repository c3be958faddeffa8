"""Models that onnxruntime runs, for tasks that take one pass; pipelines take them as they take a model of torch."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from transept import AutoConfig
from transept.auto import task_door
from transept.errors import CheckpointNotFoundError, InputError, SaveError
from transept.files import open_location
from transept.outputs import (
    BaseModelOutput,
    BaseModelOutputWithPooling,
    ImageClassifierOutput,
    MaskedLMOutput,
    ModelOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from .graphs import MODEL
from .session import Session

__all__ = [
    "ORTModel",
    "ORTModelForFeatureExtraction",
    "ORTModelForImageClassification",
    "ORTModelForMaskedLM",
    "ORTModelForMultipleChoice",
    "ORTModelForQuestionAnswering",
    "ORTModelForSequenceClassification",
    "ORTModelForTokenClassification",
]


class ORTModel:
    """A folder of ONNX files in the place of a model: `from_pretrained`, a call, `save_pretrained`.

    Tensors are torch's, on the CPU. The names are those of Optimum's classes, and so are the files that they read.

    Attributes:
        config: the model's configuration.
        sessions: the graphs, by the name of the file that has their place in an export: `model.onnx`, …
    """

    task: ClassVar[str]
    """The model task, as in `ModelSpec.tasks`: what `export=True` loads."""
    files: ClassVar[tuple[str, ...]] = (MODEL,)
    optional: ClassVar[tuple[str, ...]] = ()
    """Those among `files` that an export may lack."""
    output_class: ClassVar[type[ModelOutput]]
    main_input_name: ClassVar[str] = "input_ids"
    training = False

    def __init__(self, config: Any, sessions: Mapping[str, Session], name_or_path: str = "") -> None:
        self.config, self.sessions, self.name_or_path = config, dict(sessions), name_or_path
        self._held: Any = None
        """A folder that goes when the model goes."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        export: bool = False,
        file_name: str | Mapping[str, str] | None = None,
        quantized: bool = False,
        providers: Sequence[Any] = ("CPUExecutionProvider",),
        session_options: Any = None,
        **options: Any,
    ) -> Self:
        """Open the graphs of a folder or repository.

        Args:
            pretrained_model_name_or_path: where `export_onnx` or `transept export` wrote, or any place with the same files.
            export: the place holds a checkpoint of torch: load and export it first, into a folder that is gone with the model.
                `save_pretrained` keeps the files.
            file_name: another name of the file; of several, a mapping from the usual name.
            quantized: take the files that `quantize="int8"` wrote.
            providers: onnxruntime's execution providers. Inputs and outputs are on the CPU all the same.
            session_options: onnxruntime's `SessionOptions`.
            options: with `export=True` those of `from_pretrained`; else where to look: `revision`, `subfolder`, `token`, `cache_dir`,
                `local_files_only`.

        Raises:
            CheckpointNotFoundError: no such file is there; the message says how to make it.
            CorruptFileError: onnxruntime cannot read it.
        """
        if export:
            return cls._exported(pretrained_model_name_or_path, quantized, providers, session_options, options)
        location = open_location(pretrained_model_name_or_path, **options)
        sessions = {}
        for usual in cls.files:
            named = file_name if isinstance(file_name, str | None) else file_name.get(usual)
            name = named or (usual.replace(".onnx", "_quantized.onnx") if quantized else usual)
            found = location.fetch(name) or location.fetch(f"onnx/{name}")
            if found is None and usual in cls.optional and named is None:
                continue
            if found is None:
                raise CheckpointNotFoundError(
                    f"`{location.name}` has no `{name}`. `transept export {location.name} FOLDER`"
                    f"{' --quantize int8' if quantized else ''} makes one, or `{cls.__name__}.from_pretrained(…, export=True)` on the fly."
                )
            for beside in (f"{name}.data", f"{name}_data"):
                location.fetch(beside)  # weights that a graph refers to
            sessions[usual] = Session(Path(found), providers, session_options)
        model = cls(AutoConfig.from_pretrained(location), sessions, os.fspath(pretrained_model_name_or_path))
        model._finish(location)
        return model

    def _finish(self, location: Any) -> None:
        """What a class reads beside configuration and graphs."""

    @classmethod
    def _exported(cls, name: Any, quantized: bool, providers: Any, session_options: Any, options: dict[str, Any]) -> Self:
        import transept

        from .export import export_onnx

        loaded = getattr(transept, task_door(cls.task)).from_pretrained(
            name, dtype=options.pop("dtype", torch.float32), **options
        )
        held = tempfile.TemporaryDirectory(prefix="transept-onnx-")
        export_onnx(loaded, held.name, quantize="int8" if quantized else None)
        del loaded
        model = cls.from_pretrained(held.name, quantized=quantized, providers=providers, session_options=session_options)
        model._held, model.name_or_path = held, os.fspath(name)
        return model

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Copy configuration and graphs, with the weights beside them, under the names that `from_pretrained` expects."""
        folder = Path(save_directory)
        if folder.exists() and not folder.is_dir():
            raise SaveError(f"`{folder}` is a file, and a model is saved to a folder.")
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save_pretrained(folder)
        for session in self.sessions.values():
            for suffix in ("", ".data", "_data"):
                file = session.file.with_name(session.file.name + suffix)
                if file.exists() and not (folder / file.name).exists():
                    shutil.copyfile(file, folder / file.name)

    # -- a pass ------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        *,
        return_dict: bool | None = None,
    ) -> Any:
        """The outputs of the graph, as the torch model's `forward` gives them.

        Args:
            input_ids: LongTensor (batch, seq); of several choices (batch, choices, seq).
            attention_mask: like them, 0 at padding; None: nothing is padded.
            token_type_ids: like them; left out of a graph that has none of them, since one tokenizer serves several architectures.
            pixel_values: (batch, channels, height, width), for images.
        """
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "pixel_values": pixel_values,
        }
        return self._answer(self._run(MODEL, given), return_dict)

    def _run(self, file: str, given: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Run a graph on the inputs that are given, and what follows from them."""
        session = self.sessions[file]
        feeds = {name: value for name, value in given.items() if value is not None}
        ids = feeds.get("input_ids")
        if "token_type_ids" not in session.inputs:
            feeds.pop("token_type_ids", None)
        if ids is not None:
            if "attention_mask" in session.inputs and "attention_mask" not in feeds:
                feeds["attention_mask"] = torch.ones_like(ids)
            if "token_type_ids" in session.inputs and "token_type_ids" not in feeds:
                feeds["token_type_ids"] = torch.zeros_like(ids)
        return session.run(feeds)

    def _answer(self, found: Mapping[str, Tensor], return_dict: bool | None) -> Any:
        fields = getattr(self.output_class, "__dataclass_fields__", {})
        output = self.output_class(**{name: value for name, value in found.items() if name in fields})
        wanted = self.config.return_dict if return_dict is None else return_dict
        return output if wanted else output.to_tuple()

    # -- what pipelines and libraries ask ----------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where tensors go in and come out."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of what comes out."""
        return next(iter(next(iter(self.sessions.values())).outputs.values()))

    @classmethod
    def can_generate(cls) -> bool:
        return hasattr(cls, "generate")

    def to(self, device: Any) -> Self:
        """The model itself: it computes where its `providers` do, and takes tensors on the CPU.

        Raises: InputError for another device.
        """
        if torch.device(device).type != "cpu":
            raise InputError(f"`{type(self).__name__}` takes tensors on the CPU: choose where it computes with `providers=`.")
        return self

    def eval(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name_or_path!r}, {', '.join(each.file.name for each in self.sessions.values())})"


class ORTModelForFeatureExtraction(ORTModel):
    """Hidden states, of an encoder or of a decoder without cache."""

    task = "base"
    output_class = BaseModelOutputWithPooling

    def _answer(self, found: Mapping[str, Tensor], return_dict: bool | None) -> Any:
        kind = BaseModelOutputWithPooling if "pooler_output" in found else BaseModelOutput
        output = kind(**{name: found[name] for name in ("last_hidden_state", "pooler_output") if name in found})
        wanted = self.config.return_dict if return_dict is None else return_dict
        return output if wanted else output.to_tuple()


class ORTModelForSequenceClassification(ORTModel):
    """Labels for texts."""

    task = "sequence_classification"
    output_class = SequenceClassifierOutput


class ORTModelForTokenClassification(ORTModel):
    """Labels for tokens."""

    task = "token_classification"
    output_class = TokenClassifierOutput


class ORTModelForQuestionAnswering(ORTModel):
    """Where an answer begins and ends."""

    task = "question_answering"
    output_class = QuestionAnsweringModelOutput


class ORTModelForMaskedLM(ORTModel):
    """What stands behind masks."""

    task = "masked_lm"
    output_class = MaskedLMOutput


class ORTModelForMultipleChoice(ORTModel):
    """Which of several continuations fits."""

    task = "multiple_choice"
    output_class = MultipleChoiceModelOutput


class ORTModelForImageClassification(ORTModel):
    """Labels for images."""

    task = "image_classification"
    output_class = ImageClassifierOutput
    main_input_name = "pixel_values"

    def forward(self, pixel_values: Tensor | None = None, *, return_dict: bool | None = None) -> Any:  # type: ignore[override]
        """Logits (batch, labels) for `pixel_values` (batch, channels, height, width)."""
        return self._answer(self._run(MODEL, {"pixel_values": pixel_values}), return_dict)
