"""From pictures in any form to float tensors (channels, height, width): what image processors are made of."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from transept.errors import InputError

__all__ = ["as_image", "as_images", "normalize", "output_size", "resize"]

_CHANNELS = (1, 3, 4)
_MAX_PIXELS = 178_956_970
"""Where Pillow, too, takes a file for a decompression bomb."""


def as_images(images: Any) -> list[Any]:
    """One picture or several as a list: a picture is a PIL image, an array, a tensor, or the path of a file.

    Raises:
        InputError: nothing is given.
    """
    if isinstance(images, (Image.Image, str, Path)):
        return [images]
    dims = getattr(images, "ndim", None)
    if dims is not None:
        return list(images) if dims == 4 else [images]
    if not isinstance(images, (list, tuple)):
        raise InputError(
            f"A `{type(images).__name__}` is no image: give a PIL image, an array, a tensor, a path, or a list of those."
        )
    if not images:
        raise InputError("There is no image in the list.")
    return list(images)


def as_image(image: Any, *, channels_first: bool | None = None, convert_rgb: bool = True) -> Tensor:
    """A picture as a tensor (channels, height, width), with its own dtype: uint8 as a rule.

    Args:
        image: a PIL image; the path of a file; an array or tensor (height, width), (height, width, channels) or
            (channels, height, width).
        channels_first: where the channels of an array are; None: where a size of 1, 3 or 4 says so.
        convert_rgb: make three channels of grey pictures and of those with a palette or transparency.

    Raises:
        InputError: it is no picture, or it cannot be told where the channels are.
    """
    if isinstance(image, (str, Path)):
        image = _read(str(image))
    if isinstance(image, Image.Image):
        return _from_pillow(image, convert_rgb)
    try:
        found = torch.as_tensor(image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"A `{type(image).__name__}` is no image: {error}") from error
    if found.dim() not in (2, 3) or 0 in found.shape:
        raise InputError(
            f"An image has shape {tuple(found.shape)}: it is (height, width, channels), (channels, height, width) or (height, width)."
        )
    if found.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise InputError(f"An image holds {found.dtype}: it is uint8 from 0 to 255, or floats.")
    if found.is_floating_point() and not bool(torch.isfinite(found).all()):
        raise InputError("An image holds NaN or infinity.")
    if found.dim() == 2:
        found = found[None]
    elif not _are_channels_first(found, channels_first):
        found = found.permute(2, 0, 1)
    if convert_rgb and found.shape[0] == 1:
        found = found.expand(3, -1, -1)
    elif convert_rgb and found.shape[0] == 4:
        found = found[:3]
    return found


def _are_channels_first(image: Tensor, said: bool | None) -> bool:
    first, last = image.shape[0] in _CHANNELS, image.shape[2] in _CHANNELS
    if said is None:
        if first == last:
            trouble = "both its first and its last size could be" if first else "neither its first nor its last size can be"
            raise InputError(
                f"An image has shape {tuple(image.shape)}: {trouble} the channels (1, 3 or 4). Say where they are: "
                "`input_data_format='channels_first'` or `'channels_last'`."
            )
        return first
    if not (first if said else last):
        place = "first" if said else "last"
        raise InputError(f"An image has shape {tuple(image.shape)}: its {place} size is no number of channels (1, 3 or 4).")
    return said


def _read(path: str) -> Image.Image:
    if "://" in path:
        raise InputError(f"`{path}` is an address: download it first, and give the file.")
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _MAX_PIXELS:
                raise InputError(f"`{path}` has {opened.width} x {opened.height} pixels, more than is read.")
            opened.load()
            return opened.copy()
    except FileNotFoundError as error:
        raise InputError(f"There is no file `{path}`.") from error
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise InputError(f"`{path}` is no image that Pillow reads: {error}") from error


def _from_pillow(image: Image.Image, convert_rgb: bool) -> Tensor:
    if convert_rgb and image.mode != "RGB":
        image = image.convert("RGB")
    if image.mode not in ("L", "RGB", "RGBA"):
        raise InputError(f"An image has the mode `{image.mode}`: use `do_convert_rgb=True`.")
    channels = len(image.getbands())
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return data.view(image.height, image.width, channels).permute(2, 0, 1)


def output_size(size: Any, height: int, width: int) -> tuple[int, int]:
    """(height, width) that a picture is resized to.

    Args:
        size: a number for a square; `{"height", "width"}`; or `{"shortest_edge"}`, with the ratio kept, perhaps up to a
            `"longest_edge"`.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(size, int) and not isinstance(size, bool):
        size = {"height": size, "width": size}
    words = dict(size) if isinstance(size, dict) else {}
    if any(not isinstance(value, int) or value < 1 for value in words.values()):
        words = {}
    if words.keys() == {"height", "width"}:
        return words["height"], words["width"]
    if "shortest_edge" in words and words.keys() <= {"shortest_edge", "longest_edge"}:
        short, long = sorted((height, width))
        target: float = words["shortest_edge"]
        if "longest_edge" in words:
            target = min(target, words["longest_edge"] * short / long)
        target, other = round(target), int(target * long / short)
        return (target, other) if height <= width else (other, target)
    raise InputError(
        f"`size={size!r}` is no size: give a number, `{{'height': …, 'width': …}}` or `{{'shortest_edge': …}}`, in pixels from 1 up."
    )


def resize(image: Tensor, size: tuple[int, int], resample: int) -> Tensor:
    """A picture (channels, height, width) resized by Pillow, the filter by Pillow's number; uint8 stays uint8.

    Each channel of a float picture is resized in floating point, without rounding to 256 steps.
    """
    height, width = size
    kind = Image.Resampling(resample)
    plain = image.dtype == torch.uint8
    channels = []
    for channel in image.contiguous():
        data = channel if plain else channel.float()
        picture = Image.frombytes("L" if plain else "F", (channel.shape[1], channel.shape[0]), _bytes(data))
        changed = picture.resize((width, height), resample=kind)
        made = torch.frombuffer(bytearray(changed.tobytes()), dtype=torch.uint8 if plain else torch.float32)
        channels.append(made.view(height, width))
    return torch.stack(channels)


def _bytes(data: Tensor) -> bytes:
    """The elements of a tensor, row by row, as they lie in memory."""
    flat = data.contiguous().view(torch.uint8).flatten()
    return ctypes.string_at(flat.data_ptr(), flat.numel())


def normalize(image: Tensor, mean: Any, std: Any) -> Tensor:
    """`(image - mean) / std` for each channel; both are one number or one a channel.

    Raises:
        InputError: another number of them, or a zero among the deviations.
    """
    channels = image.shape[0]
    values = []
    for name, given in (("image_mean", mean), ("image_std", std)):
        found = torch.as_tensor(given, dtype=torch.float32)
        if found.dim() > 1 or (found.dim() == 1 and found.shape[0] != channels):
            raise InputError(f"`{name}` has {found.numel()} values, and the image {channels} channels.")
        values.append(found.view(-1, 1, 1))
    if bool((values[1] == 0).any()):
        raise InputError("`image_std` has a zero in it, by which nothing can be divided.")
    return (image - values[0]) / values[1]
