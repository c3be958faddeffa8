"""Feature extractors: from waveforms to what models take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from transept.errors import InputError

from .batch_feature import BatchFeature
from .settings import SavedSettings

__all__ = ["FeatureExtractionMixin", "SequenceFeatureExtractor"]


class FeatureExtractionMixin(SavedSettings):
    """Base of feature extractors; the settings are in `preprocessor_config.json`."""

    type_field: ClassVar[str] = "feature_extractor_type"
    part: ClassVar[str] = "feature_extractor"


class SequenceFeatureExtractor(FeatureExtractionMixin):
    """Base of feature extractors whose input is one sequence a row: audio.

    Args:
        feature_size: values a time step.
        sampling_rate: in hertz.
        padding_value: what rows are filled with.
        padding_side: "right" or "left".
        return_attention_mask: say which steps are no padding.
    """

    def __init__(
        self,
        *,
        feature_size: int = 1,
        sampling_rate: int = 16000,
        padding_value: float = 0.0,
        padding_side: str = "right",
        return_attention_mask: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.feature_size, self.sampling_rate, self.padding_value = feature_size, sampling_rate, padding_value
        self.padding_side, self.return_attention_mask = padding_side, return_attention_mask

    def waveforms(self, raw: Any, sampling_rate: int | None) -> list[Tensor]:
        """Each row of the input as a float32 tensor (samples,).

        Args:
            raw: an array or list of numbers (samples,), or several: a list of such, or an array (batch, samples). Tensors too.
            sampling_rate: of `raw`, in hertz; None: taken to be the extractor's own.

        Raises:
            InputError: another rate, nothing in it, more than one channel, integers or values that are not finite.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise InputError(
                f"The audio has {sampling_rate} samples a second and `{type(self).__name__}` takes {self.sampling_rate}: resample it."
            )
        nested = isinstance(raw, Sequence) and any(hasattr(row, "__len__") for row in raw)
        rows = list(raw) if nested or getattr(raw, "ndim", 1) > 1 else [raw]
        found = [_waveform(row, index) for index, row in enumerate(rows)]
        if not found:
            raise InputError("The audio is empty: there is no row in it.")
        return found

    def pad(
        self,
        rows: Mapping[str, Sequence[Any]],
        *,
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Fill rows (time, …) to one length, along their first axis.

        Args:
            rows: by name, one tensor or array a row.
            padding: True or "longest": to the longest row; "max_length": to `max_length`; False: not at all.
            truncation: cut rows to `max_length` first.

        Raises:
            InputError: a length is asked for and not given, or none of these words.
        """
        if padding not in (True, False, "longest", "max_length", "do_not_pad"):
            raise InputError(f"`padding={padding!r}` is none of True, False, 'longest', 'max_length', 'do_not_pad'.")
        if (truncation or padding == "max_length") and max_length is None:
            raise InputError("`truncation` and `padding='max_length'` need `max_length`.")
        name = self.model_input_names[0] if self.model_input_names else next(iter(rows))
        end = max_length if truncation else None
        cut = {key: [torch.as_tensor(row)[:end] for row in value] for key, value in rows.items()}
        lengths = [row.shape[0] for row in cut[name]]
        target = max(lengths) if padding in (True, "longest") else max_length if padding == "max_length" else None
        if target is not None and pad_to_multiple_of:
            target = -(-target // pad_to_multiple_of) * pad_to_multiple_of
        wanted = self.return_attention_mask if return_attention_mask is None else return_attention_mask
        if wanted and "attention_mask" not in cut:
            cut["attention_mask"] = [torch.ones(length, dtype=torch.int32) for length in lengths]
        filled = {
            key: [self._filled(row, target, 0 if key == "attention_mask" else self.padding_value) for row in value]
            for key, value in cut.items()
        }
        return BatchFeature(filled, return_tensors)

    def _filled(self, row: Tensor, target: int | None, value: float) -> Tensor:
        missing = 0 if target is None else target - row.shape[0]
        if missing <= 0:
            return row
        width = (0, missing) if self.padding_side == "right" else (missing, 0)
        return F.pad(row, (*(0, 0) * (row.dim() - 1), *width), value=value)


def _waveform(row: Any, index: int) -> Tensor:
    try:
        found = torch.as_tensor(row)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"Row {index} of the audio is no sequence of numbers, and samples are floats: {error}") from error
    if not found.is_floating_point() and found.numel() and int(found.long().abs().max()) > 1:
        raise InputError(
            f"Row {index} of the audio holds {found.dtype} numbers: samples are floats from -1 to 1. Divide by "
            f"{torch.iinfo(found.dtype).max + 1}."
        )
    if found.dim() != 1:
        raise InputError(
            f"Row {index} of the audio has shape {tuple(found.shape)}: one channel, (samples,), is taken. Average the channels."
        )
    if not found.numel():
        raise InputError(f"Row {index} of the audio is empty.")
    found = found.to(torch.float32)
    if not torch.isfinite(found).all():
        raise InputError(f"Row {index} of the audio holds NaN or infinity.")
    return found
