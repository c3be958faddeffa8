"""Pictures in any form become the peer's `pixel_values`; what is no picture is refused."""

from __future__ import annotations

import json

import numpy
import pytest
import torch
from PIL import Image
from transept_vit.image_processing import ViTImageProcessor
from transept_vit.image_transforms import as_image, output_size

from transept import AutoImageProcessor, AutoProcessor
from transept.errors import ConfigError, InputError, UnknownArgumentError

RANDOM = numpy.random.default_rng(0)
PICTURE = RANDOM.integers(0, 256, (37, 53, 3), dtype=numpy.uint8)


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("transformers.models.vit.image_processing_pil_vit").ViTImageProcessorPil


SETTINGS = {
    "as it is": {},
    "smaller": {"size": {"height": 8, "width": 12}},
    "larger": {"size": {"height": 80, "width": 64}},
    "bicubic": {"size": {"height": 16, "width": 16}, "resample": 3},
    "nearest": {"size": {"height": 16, "width": 16}, "resample": 0},
    "no resize": {"do_resize": False},
    "no rescale": {"do_rescale": False},
    "no normalisation": {"do_normalize": False},
    "other statistics": {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7], "size": {"height": 9, "width": 9}},
    "another factor": {"rescale_factor": 1 / 127.5},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_pixel_values_are_the_peers(peer, name) -> None:
    expected = peer(**SETTINGS[name])(PICTURE, return_tensors="pt")["pixel_values"]
    found = ViTImageProcessor(**SETTINGS[name])(PICTURE, return_tensors="pt")["pixel_values"]
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    scale = max(1.0, float(expected.abs().max()))
    assert (found - expected).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "LA"])
def test_pillow_images_of_every_mode(peer, mode) -> None:
    image = Image.fromarray(PICTURE).convert(mode)
    found = ViTImageProcessor(size=10)(image, return_tensors="pt")["pixel_values"]
    assert found.shape == (1, 3, 10, 10)
    expected = peer(size={"height": 10, "width": 10}, do_convert_rgb=True)(image.convert("RGB"), return_tensors="pt")[
        "pixel_values"
    ]
    assert (found - expected).abs().max() <= 1e-5


def test_every_form_of_one_picture_gives_the_same(tmp_path) -> None:
    processor = ViTImageProcessor(size=10)
    Image.fromarray(PICTURE).save(tmp_path / "picture.png")
    forms = [
        Image.fromarray(PICTURE),
        PICTURE,
        torch.tensor(PICTURE),
        torch.tensor(PICTURE).permute(2, 0, 1),
        PICTURE.transpose(2, 0, 1),
        tmp_path / "picture.png",
        str(tmp_path / "picture.png"),
        [PICTURE],
        PICTURE[None],
    ]
    expected = processor(forms[0], return_tensors="pt")["pixel_values"]
    for form in forms[1:]:
        assert torch.equal(processor(form, return_tensors="pt")["pixel_values"], expected)
    as_arrays = processor(PICTURE, return_tensors="np")["pixel_values"]
    assert isinstance(as_arrays, numpy.ndarray)
    assert numpy.array_equal(as_arrays, expected.numpy())


def test_a_batch_is_its_pictures_one_by_one() -> None:
    processor = ViTImageProcessor(size=12)
    others = RANDOM.integers(0, 256, (20, 30, 3), dtype=numpy.uint8)
    batch = processor([PICTURE, others], return_tensors="pt")["pixel_values"]
    for row, picture in zip(batch, (PICTURE, others), strict=True):
        assert torch.equal(row, processor(picture, return_tensors="pt")["pixel_values"][0])
    loose = processor([PICTURE, others], do_resize=False)["pixel_values"]
    assert [tuple(one.shape) for one in loose] == [(3, 37, 53), (3, 20, 30)]
    with pytest.raises(InputError, match="differ in size"):
        processor([PICTURE, others], do_resize=False, return_tensors="pt")


def test_floats_are_resized_without_rounding() -> None:
    floats = torch.rand(3, 20, 20)
    found = ViTImageProcessor(size=10, do_rescale=False, do_normalize=False)(floats, return_tensors="pt")["pixel_values"][0]
    rounded = ViTImageProcessor(size=10, do_normalize=False)((floats * 255).round().to(torch.uint8), return_tensors="pt")
    assert (found - rounded["pixel_values"][0]).abs().max() < 2 / 255
    assert not torch.equal(found, rounded["pixel_values"][0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (numpy.zeros((5, 6, 7), numpy.uint8), "neither its first nor its last size"),
        (numpy.zeros((3, 5, 3), numpy.uint8), "both its first and its last size"),
        (numpy.zeros((2, 2, 2, 2, 2), numpy.uint8), "An image has shape"),
        (numpy.zeros((0, 5, 3), numpy.uint8), "An image has shape"),
        (numpy.zeros((5, 5, 3), bool), "holds torch.bool"),
        (numpy.full((5, 6, 3), numpy.nan), "NaN"),
        (numpy.random.default_rng(1).random((5, 6, 3)), "do_rescale=False"),
        ("no/such/file.png", "no file"),
        ("https://example.org/cat.png", "download it first"),
        (42, "is no image"),
        ([], "no image in the list"),
        (["a", "b"], "no file"),
        ({"a": 1}, "is no image"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_picture_is_refused(given, said) -> None:
    with pytest.raises(InputError, match=said):
        ViTImageProcessor()(given)


def test_a_file_that_is_no_picture_is_refused(tmp_path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match="no image that Pillow reads"):
        ViTImageProcessor()(tmp_path / "text.png")
    Image.fromarray(PICTURE).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no image that Pillow reads"):
        ViTImageProcessor()(tmp_path / "cut.png")


def test_where_the_channels_are_can_be_said() -> None:
    odd = numpy.zeros((3, 5, 3), numpy.uint8)
    assert as_image(odd, channels_first=True).shape == (3, 5, 3)
    assert as_image(odd, channels_first=False).shape == (3, 3, 5)
    with pytest.raises(InputError, match="its first size is no number of channels"):
        as_image(PICTURE, channels_first=True)
    with pytest.raises(InputError, match="input_data_format"):
        ViTImageProcessor()(PICTURE, input_data_format="last")


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InputError, match="is no size"):
        ViTImageProcessor(size={"height": 0, "width": 3})
    with pytest.raises(InputError, match="3 channels"):
        ViTImageProcessor(image_mean=[0.5, 0.5])(PICTURE)
    with pytest.raises(InputError, match="zero"):
        ViTImageProcessor(image_std=0)(PICTURE)
    with pytest.raises(UnknownArgumentError, match="do_resize"):
        ViTImageProcessor()(PICTURE, do_resise=False)


def test_sizes_by_the_shortest_edge() -> None:
    assert output_size({"shortest_edge": 10}, 20, 40) == (10, 20)
    assert output_size({"shortest_edge": 10}, 40, 20) == (20, 10)
    assert output_size({"shortest_edge": 10, "longest_edge": 15}, 20, 40) == (8, 15)
    assert output_size(7, 20, 40) == (7, 7)


def test_settings_go_both_ways_with_the_peer(peer, tmp_path) -> None:
    ViTImageProcessor(size=17, image_mean=[0.1, 0.2, 0.3], rescale_factor=0.5).save_pretrained(tmp_path / "ours")
    theirs = peer.from_pretrained(tmp_path / "ours")
    assert list(theirs.image_mean) == [0.1, 0.2, 0.3]
    assert theirs.rescale_factor == 0.5
    peer(size={"height": 5, "width": 6}, do_normalize=False).save_pretrained(tmp_path / "theirs")
    for door in (ViTImageProcessor, AutoImageProcessor, AutoProcessor):
        found = door.from_pretrained(tmp_path / "theirs")
        assert type(found) is ViTImageProcessor
        assert found.size == {"height": 5, "width": 6}
        assert found.do_normalize is False


def test_old_files_and_those_of_other_families(tmp_path) -> None:
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "do_resize": True}))
    assert AutoImageProcessor.from_pretrained(tmp_path, size=8).size == {"height": 8, "width": 8}
    file.write_text(json.dumps({"image_processor_type": "CLIPImageProcessor", "size": 224}))
    with pytest.raises(ConfigError, match="CLIPImageProcessor"):
        ViTImageProcessor.from_pretrained(tmp_path)
