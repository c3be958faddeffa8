"""`SentenceEncoder`: texts to vectors, as a sentence-transformers checkpoint says."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm
from transept_pipelines.model_inputs import fitting

from transept import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer
from transept.checkpoints import save_tensors
from transept.errors import ConfigError, InputError, UnknownArgumentError, did_you_mean, shorten
from transept.files import DirectoryLocation, Location, atomic_write_text, open_location, safe_join

from .checkpoint import LENGTHS, MODULES, PROMPTS, SentenceSettings, read_modules, read_settings, read_stages
from .similarity import SIMILARITY, rows
from .stages import Dense, Pooling

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SentenceEncoder"]

_WHERE = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "force_download")
_NO_LIMIT = 1 << 20


class SentenceEncoder(nn.Module):
    """A transformer, a pooling and what follows it: texts in, one vector a text out.

    Args:
        transformer: a model without a head.
        tokenizer: its tokenizer.
        stages: modules behind it, a `Pooling` first; the mean over the tokens when left out.
        settings: lengths, prompts, similarity.

    Raises:
        ConfigError: no pooling first, a prompt or similarity that is not known, widths that do not fit.
    """

    def __init__(
        self,
        transformer: nn.Module,
        tokenizer: Any,
        stages: Sequence[nn.Module] | None = None,
        settings: SentenceSettings | None = None,
    ) -> None:
        super().__init__()
        width = int(transformer.config.hidden_size)  # type: ignore[union-attr,arg-type]
        self.transformer, self.tokenizer = transformer, tokenizer
        self.stages = nn.ModuleList(stages if stages is not None else [Pooling(width)])
        self.settings = settings or SentenceSettings()
        if not self.stages or not isinstance(self.stages[0], Pooling):
            raise ConfigError("The first stage behind the transformer must be a `Pooling`, which makes one vector of many.")
        for stage in self.stages:
            needs = (
                stage.dimension if isinstance(stage, Pooling) else getattr(getattr(stage, "linear", None), "in_features", width)
            )
            if needs != width:
                raise ConfigError(
                    f"A `{type(stage).__name__}` takes vectors of {needs} numbers, and {width} come from the one before."
                )
            width = getattr(stage, "out_features", width)
        self._width = width
        self.similarity_fn_name = self.settings.similarity_fn_name
        self.eval()

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] | Location,
        *,
        device: str | int | torch.device | None = None,
        tokenizer: Any = None,
        max_seq_length: int | None = None,
        **options: Any,
    ) -> Self:
        """Load a checkpoint. One without `modules.json` gets a mean pooling, and a warning that says so.

        Args:
            name: a folder, a name on the hub, or `scheme:name` for an installed source.
            device: where it computes; None: the accelerator where there is one, else the CPU.
            tokenizer: in place of the checkpoint's.
            max_seq_length: in place of the checkpoint's.
            **options: where to look (`revision`, `subfolder`, `cache_dir`, `token`, …) and what `AutoModel.from_pretrained`
                takes (`dtype`, `attn_implementation`, `quantization_config`, …).

        Raises:
            ConfigError: a module that is not known, by name; a checkpoint's own code is never run.
            CheckpointNotFoundError, CorruptFileError, UnsafePathError: the files are not what they should be.
        """
        where = {key: options.pop(key) for key in _WHERE if key in options}
        location = open_location(name, **where)
        modules = read_modules(location)
        folder = modules[0][1] if modules else ""
        source = location if not folder else _inside(name, location, folder, where)
        if modules is None:
            warnings.warn(
                f"`{location.name}` has no `{MODULES}`, so it is not known how it pools: the mean over the tokens is taken.",
                stacklevel=2,
            )
        settings = read_settings(location, folder)
        if max_seq_length is not None:
            settings.max_seq_length = max_seq_length
        stages = read_stages(location, modules) if modules is not None else None
        config = AutoConfig.from_pretrained(source)
        door: Any = AutoModelForTextEncoding if config.is_encoder_decoder else AutoModel
        options.setdefault("device_map", device if device is not None else _accelerator())
        transformer = door.from_pretrained(source, **options)
        if tokenizer is None:
            tokenizer = AutoTokenizer.from_pretrained(source)
        encoder = cls(transformer, tokenizer, stages, settings)
        encoder.stages.to(device=transformer.device, dtype=transformer.dtype)
        return encoder

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        """The transformer's configuration."""
        return self.transformer.config

    @property
    def device(self) -> torch.device:
        return next(self.transformer.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.transformer.parameters()).dtype

    @property
    def max_seq_length(self) -> int:
        """The longest input in tokens; longer texts are cut."""
        known = (
            self.settings.max_seq_length,
            getattr(self.config, "max_position_embeddings", None),
            getattr(self.tokenizer, "model_max_length", None),
        )
        return self.settings.max_seq_length or min(length for length in (*known[1:], _NO_LIMIT) if length)

    @max_seq_length.setter
    def max_seq_length(self, length: int) -> None:
        self.settings.max_seq_length = length

    @property
    def prompts(self) -> dict[str, str]:
        return self.settings.prompts

    def get_sentence_embedding_dimension(self) -> int:
        """Numbers in a text's vector."""
        return self._width

    # -- texts to vectors ----------------------------------------------------------------------------------------------

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        pooling_mask: Tensor | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """Embed encoded texts: what `tokenize` returns.

        Args:
            input_ids, attention_mask: (batch, seq).
            pooling_mask: (batch, seq), 1 for tokens that count in the pooling; those of `attention_mask` when left out.
            inputs: what else the transformer takes, `token_type_ids`.

        Returns:
            (batch, dimension)
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, **inputs}  # type: ignore[dict-item]
        hidden_states = self.transformer(**fitting(self.transformer, inputs))[0]  # (batch, seq, hidden)
        kept = pooling_mask if pooling_mask is not None else attention_mask
        embeddings: Tensor = self.stages[0](hidden_states, torch.ones_like(input_ids) if kept is None else kept)
        for stage in self.stages[1:]:
            embeddings = stage(embeddings)
        return embeddings

    @torch.no_grad()
    def encode(
        self,
        sentences: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
    ) -> np.ndarray[Any, Any] | Tensor | list[Tensor]:
        """Embed texts; batches are made of texts of like length, and the order is kept.

        Args:
            sentences: one text or several; longer ones than `max_seq_length` are cut.
            prompt_name, prompt: text to put before each, by its name in `prompts` or itself; the checkpoint's default
                otherwise.
            batch_size: texts in one pass.
            show_progress_bar: on a terminal; None: when it takes more than two seconds.
            convert_to_numpy: float32 array. Otherwise a list of tensors, or with `convert_to_tensor` one tensor, in the model's
                dtype on its device.
            normalize_embeddings: scale each vector to length 1.

        Returns:
            (texts, dimension), or (dimension,) for one text.

        Raises:
            InputError: what is not text; an unknown prompt; a batch size below 1.
        """
        single = isinstance(sentences, str)
        texts = self._texts(sentences)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"`batch_size` is a number of texts from 1 up, not {batch_size!r}.")
        before = self.prompt_text(prompt_name, prompt)
        to_numpy = convert_to_numpy and not convert_to_tensor
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        found: list[Tensor] = [torch.empty(0)] * len(texts)
        training = self.training
        self.eval()
        try:
            hidden = True if show_progress_bar is False else None  # None: hidden where stderr is no terminal
            with tqdm(total=len(texts), unit="text", disable=hidden, delay=0 if show_progress_bar else 2) as bar:
                for start in range(0, len(order), batch_size):
                    places = order[start : start + batch_size]
                    embeddings = self(**self.tokenize([texts[place] for place in places], before))
                    if normalize_embeddings:
                        embeddings = F.normalize(embeddings, dim=-1)
                    if to_numpy:
                        embeddings = embeddings.float().cpu()
                    for place, row in zip(places, embeddings.unbind(), strict=True):
                        found[place] = row
                    bar.update(len(places))
        finally:
            self.train(training)
        if not convert_to_tensor and not convert_to_numpy:
            return found[0] if single else found
        empty = torch.empty((0, self._width), dtype=torch.float32 if to_numpy else self.dtype)
        stacked = torch.stack(found) if found else empty
        stacked = stacked[0] if single else stacked
        return stacked.numpy() if to_numpy else stacked

    def encode_query(self, sentences: str | Sequence[str], **arguments: Any) -> Any:
        """`encode` with the prompt named `query`, where the checkpoint has one."""
        return self.encode(sentences, **self._named("query", arguments))

    def encode_document(self, sentences: str | Sequence[str], **arguments: Any) -> Any:
        """`encode` with the prompt named `document`, `passage` or `corpus`, where the checkpoint has one."""
        name = next((name for name in ("document", "passage", "corpus") if name in self.prompts), "document")
        return self.encode(sentences, **self._named(name, arguments))

    def _named(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        chosen = "prompt" in arguments or "prompt_name" in arguments or name not in self.prompts
        return arguments if chosen else {**arguments, "prompt_name": name}

    def tokenize(self, texts: Sequence[str], prompt: str = "") -> dict[str, Tensor]:
        """The inputs of `forward` for texts with a prompt before each, on the model's device: tensors (batch, seq)."""
        stripped = [(prompt + text).strip() for text in texts]
        if self.settings.do_lower_case:
            stripped = [text.lower() for text in stripped]
        encoded = self.tokenizer(
            stripped, padding=True, truncation="longest_first", max_length=self.max_seq_length, return_tensors="pt"
        )
        inputs = {name: value.to(self.device) for name, value in encoded.items()}
        if prompt and not self.stages[0].include_prompt:
            mask = inputs["attention_mask"]
            inputs["pooling_mask"] = mask * (mask.cumsum(-1) > self._length_of(prompt))
        return inputs

    def _length_of(self, prompt: str) -> int:
        """Tokens of a prompt, with the special one at the beginning and without the one at the end."""
        ids = self.tokenizer(prompt.strip())["input_ids"]
        return len(ids) - (1 if ids and ids[-1] in (self.tokenizer.sep_token_id, self.tokenizer.eos_token_id) else 0)

    def _texts(self, sentences: Any) -> list[str]:
        if isinstance(sentences, str):
            return [sentences]
        if isinstance(sentences, Mapping | bytes) or not hasattr(sentences, "__iter__"):
            raise InputError(f"`encode` takes a text or several, not a `{type(sentences).__name__}`.")
        texts = list(sentences)
        for place, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"`sentences[{place}]` is a `{type(text).__name__}` (`{text!r:.60}`), and texts are encoded.")
        return texts

    def prompt_text(self, name: str | None = None, prompt: str | None = None) -> str:
        """What is put before each text: `prompt`, or the one of that name, or the checkpoint's default; nothing without one.

        Raises: InputError for a name that the checkpoint has not.
        """
        if prompt is not None:
            if name is not None:
                raise InputError(f"`prompt_name={name!r}` and `prompt={prompt!r}` say two things: give one.")
            return prompt
        name = name if name is not None else self.settings.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            raise InputError(
                f"This encoder has no prompt `{name}`.{did_you_mean(name, self.prompts)} It has {shorten(self.prompts) or 'none'}."
            )
        return self.prompts[name]

    # -- vectors to similarity -----------------------------------------------------------------------------------------

    @property
    def similarity_fn_name(self) -> str:
        """`cosine`, `dot`, `euclidean` or `manhattan` (the last two negative: higher is more alike)."""
        return self.settings.similarity_fn_name

    @similarity_fn_name.setter
    def similarity_fn_name(self, name: str) -> None:
        if name not in SIMILARITY:
            raise ConfigError(
                f"`similarity_fn_name` is `{name}`: known are {shorten(SIMILARITY)}.{did_you_mean(name, SIMILARITY)}"
            )
        self.settings.similarity_fn_name = name

    def similarity(self, embeddings: Any, others: Any) -> Tensor:
        """Each of the first against each of the second: (n, dim) and (m, dim) to (n, m), by `similarity_fn_name`."""
        first, second = rows(embeddings), rows(others)
        if first.shape[1] != second.shape[1]:
            raise InputError(f"Vectors of {first.shape[1]} and of {second.shape[1]} numbers cannot be compared.")
        return SIMILARITY[self.similarity_fn_name](first, second.to(first))

    def similarity_pairwise(self, embeddings: Any, others: Any) -> Tensor:
        """The first against the first, the second against the second, …: (n, dim) and (n, dim) to (n,)."""
        first, second = rows(embeddings), rows(others)
        if first.shape != second.shape:
            raise InputError(f"Pairs need as many vectors on both sides: {tuple(first.shape)} and {tuple(second.shape)}.")
        return SIMILARITY[self.similarity_fn_name](first[:, None], second.to(first)[:, None])[:, 0, 0]

    # -- saving --------------------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Write transformer, tokenizer, stages and settings as a sentence-transformers checkpoint; `modules.json` comes last."""
        folder = Path(save_directory)
        transformer: Any = self.transformer
        transformer.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
        for place, stage in enumerate(self.stages, start=1):
            kind = type(stage).__name__
            path = f"{place}_{kind}"
            (folder / path).mkdir(parents=True, exist_ok=True)
            of_stage: Any = stage
            if config := of_stage.to_config():
                _write(folder / path / "config.json", config)
            if isinstance(stage, Dense):
                save_tensors(folder / path, stage.state_dict())
            modules.append({"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"})
        settings = self.settings
        _write(folder / LENGTHS[0], {"max_seq_length": self.max_seq_length, "do_lower_case": settings.do_lower_case})
        prompts = {name: getattr(settings, name) for name in ("prompts", "default_prompt_name", "similarity_fn_name")}
        _write(folder / PROMPTS, prompts)
        _write(folder / MODULES, modules)


def _write(path: Path, value: Any) -> None:
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _accelerator() -> str:
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None else str(found)


def _inside(name: Any, location: Location, folder: str, where: dict[str, Any]) -> Location:
    """The place of the transformer, which `modules.json` puts into a folder of its own."""
    here = location.folder()
    if here is not None:
        return DirectoryLocation(safe_join(here, f"{folder}/config.json").parent, source=location.source)
    if isinstance(name, Location):
        raise UnknownArgumentError(f"`{location.name}` keeps its transformer in `{folder}`: load it by its name.")
    outer = str(where.get("subfolder") or "").strip("/")
    return open_location(name, **{**where, "subfolder": f"{outer}/{folder}" if outer else folder})
