"""`CheckpointFormatConformance`: a reader gives what the file holds, when it is asked, and refuses what is no sound file."""

from __future__ import annotations

import gc
import math
import shutil
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from transept.checkpoints import CheckpointReader
from transept.discovery import load_object, registry
from transept.errors import CheckpointError, CheckpointNotFoundError, TranseptError
from transept.files import DirectoryLocation, weight_files
from transept_hookspecs import CheckpointFormatSpec

from .comparing import assert_to_scale
from .filling import fill, hashed
from .refusing import refused
from .standard import Conformance

__all__ = ["CheckpointFormatConformance"]


class CheckpointFormatConformance(Conformance, standard=True):
    """Subclass it with the `key`, and with `write_files` for a format whose files others write."""

    key: ClassVar[str]
    """The format's key."""
    tolerance: ClassVar[float] = 0.0
    """How far what is read may be from what was written, relative to the largest value: above zero for files that round."""
    supports_mmap: ClassVar[bool] = True
    """Opening reads the directory of the file alone. False: everything is read at once."""
    model: ClassVar[tuple[str, str, Mapping[str, Any]]] = (
        "llama",
        "causal_lm",
        {
            "vocab_size": 96,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
        },
    )
    """`model_type`, task and configuration of the model that is written and read back, where the record has `write`."""

    @cached_property
    def record(self) -> CheckpointFormatSpec:
        return registry.get("checkpoints", self.key)

    @abstractmethod
    def write_files(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        """Write a checkpoint of these tensors in this format, by other means than the plugin where there are any."""

    def tensors(self) -> dict[str, Tensor]:
        """What is written: names to float32 tensors (or others that the format has). One of them is above a megabyte."""
        shapes = {
            "first.weight": (64, 96),
            "first.bias": (64,),
            "large.weight": (1024, 512),
            "norm": (256,),
            "last": (2, 32, 8),
        }
        return {
            name: (hashed(math.prod(shape), index).float() / 2**31 - 1).view(shape)
            for index, (name, shape) in enumerate(shapes.items())
        }

    def open(self, folder: Path, **options: Any) -> CheckpointReader:
        found: CheckpointReader = load_object(self.record.open, owner=self.key)(DirectoryLocation(folder), **options)
        return found

    def write_model(self, model: Any, folder: Path) -> None:
        """The model in this format, by the record's `write`."""
        assert self.record.write is not None
        load_object(self.record.write, owner=self.key)(model, folder)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A folder with a checkpoint of `tensors()`."""
        place = tmp_path / "checkpoint"
        place.mkdir()
        self.write_files(place, self.tensors())
        return place

    def _files(self, folder: Path) -> list[Path]:
        return [folder / name for name in weight_files(DirectoryLocation(folder).names(), self.record.suffixes)]

    def _equal(self, found: Tensor, expected: Tensor, what: str) -> None:
        if self.tolerance == 0.0:
            assert found.dtype == expected.dtype, f"{what}: {found.dtype} in place of {expected.dtype}"
            assert torch.equal(found, expected), f"{what} is not what was written"
        else:
            assert_to_scale(found, expected.to(found.dtype), self.tolerance, what)

    # -- what is there -----------------------------------------------------------------------------------------------------

    def test_its_files_are_known_by_their_names(self, folder: Path) -> None:
        assert self._files(folder), f"no file of {DirectoryLocation(folder).names()} ends in one of {self.record.suffixes}"

    def test_it_lists_every_tensor(self, folder: Path) -> None:
        expected = self.tensors()
        with self.open(folder) as reader:
            assert reader.format == self.key
            assert set(reader.files) == {str(path) for path in self._files(folder)}
            assert all(isinstance(key, str) and isinstance(value, str) for key, value in reader.metadata.items())
            assert sorted(reader.tensors) == sorted(expected)
            for name, ref in reader.tensors.items():
                assert ref.name == name
                assert tuple(ref.shape) == tuple(expected[name].shape), f"the shape of `{name}`"
                assert all(type(size) is int for size in ref.shape)
                assert isinstance(ref.kind, str)
                assert ref.kind
            total = sum(ref.nbytes for ref in reader.tensors.values())
        size = sum(path.stat().st_size for path in self._files(folder))
        assert 0 < total <= size, f"the tensors claim {total} bytes of files that have {size}"

    @pytest.mark.parametrize("mmap", [True, False], ids=["mapped", "read"])
    def test_it_reads_what_was_written(self, folder: Path, mmap: bool) -> None:
        with self.open(folder, mmap=mmap) as reader:
            for name, expected in self.tensors().items():
                ref = reader.tensors[name]
                found = ref.read()
                assert found.device.type == "cpu"
                assert ref.dtype is None or found.dtype == ref.dtype, (
                    f"`{name}` promises {ref.dtype} and reads as {found.dtype}"
                )
                self._equal(found, expected, f"`{name}`")
                self._equal(ref.read(), expected, f"`{name}`, read again")
                ref.release()
                self._equal(ref.read(), expected, f"`{name}`, read after it was released")

    # -- when it is read ---------------------------------------------------------------------------------------------------

    def test_opening_reads_no_tensor(self, folder: Path) -> None:
        if not self.supports_mmap:
            pytest.skip("`supports_mmap` is False")
        status = Path("/proc/self/io")
        if not status.exists():
            pytest.skip("this system does not say what a process reads")

        def read() -> int:
            return int(status.read_text().split("rchar:")[1].split()[0])

        before = read()
        with self.open(folder) as reader:
            names = list(reader.tensors)
            taken, size = read() - before, sum(path.stat().st_size for path in self._files(folder))
        assert names
        assert taken < size / 2, f"opening read {taken:,} bytes of {size:,}: read a tensor when it is asked for"

    @pytest.mark.parametrize("mmap", [True, False], ids=["mapped", "read"])
    def test_tensors_outlive_the_reader_and_the_files(self, folder: Path, mmap: bool) -> None:
        reader = self.open(folder, mmap=mmap)
        found = {name: ref.read() for name, ref in reader.tensors.items()}
        reader.close()
        del reader
        gc.collect()
        shutil.rmtree(folder)
        for name, expected in self.tensors().items():
            self._equal(found[name], expected, f"`{name}`, after the file was removed")

    def test_a_tensor_is_private(self, folder: Path) -> None:
        """What is done to it reaches neither the file nor another reader."""
        before = [path.read_bytes() for path in self._files(folder)]
        with self.open(folder) as one, self.open(folder) as other:
            for name, expected in self.tensors().items():
                one.tensors[name].read().zero_()
                self._equal(other.tensors[name].read(), expected, f"`{name}` of another reader")
        assert [path.read_bytes() for path in self._files(folder)] == before, "the file was changed"

    def test_threads_share_a_reader(self, folder: Path) -> None:
        expected = self.tensors()
        with self.open(folder) as reader, ThreadPoolExecutor(4) as pool:
            for name, found in pool.map(lambda name: (name, reader.tensors[name].read()), list(expected) * 8):
                self._equal(found, expected[name], f"`{name}`, read by a thread")

    # -- what is no checkpoint ---------------------------------------------------------------------------------------------

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        with refused(CheckpointNotFoundError, "empty", "say what was looked for, and where"):
            self.open(empty)

    @pytest.mark.parametrize("mmap", [True, False], ids=["mapped", "read"])
    @pytest.mark.parametrize(
        "left", [0.0, 0.001, 0.5, 0.99, -1], ids=["nothing", "its start", "half", "most", "all but a byte"]
    )
    def test_a_torn_file_is_refused(self, folder: Path, left: float, mmap: bool) -> None:
        """At the latest when a tensor that is cut is read; never by values that nobody wrote."""
        path = self._files(folder)[-1]
        whole = path.read_bytes()
        path.write_bytes(whole[: -1 if left < 0 else int(len(whole) * left)])
        with (
            refused(CheckpointError, path.name, "name the file, and say that it is damaged"),
            self.open(folder, mmap=mmap) as reader,
        ):
            for ref in reader.tensors.values():
                ref.read()

    def test_damaged_files_are_refused_or_read(self, folder: Path) -> None:
        """Every byte of the first 512 in turn: a clear error or tensors, never a crash or another exception."""
        path = self._files(folder)[0]
        whole = path.read_bytes()
        for place in range(0, min(512, len(whole)), 3):
            for value in (0xFF, whole[place] ^ 0x01):
                path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
                try:
                    with self.open(folder) as reader:
                        for ref in reader.tensors.values():
                            if math.prod(ref.shape) <= 1 << 20:
                                ref.read()
                except TranseptError as error:
                    assert str(error)

    # -- writing -----------------------------------------------------------------------------------------------------------

    def _made(self) -> Iterator[Any]:
        model_type, task, values = self.model
        spec = registry.find("models", model_type)
        if spec is None:
            pytest.skip(f"no `{model_type}` is installed to be written")
        kind = load_object(spec.tasks[task], owner=model_type)
        for tied in (False, True):
            model = kind(load_object(spec.config, owner=model_type)(**values, tie_word_embeddings=tied))
            fill(model)
            yield model.eval()

    def test_a_model_comes_back(self, tmp_path: Path) -> None:
        """Written, and loaded from nothing but what was written: the same model, tied or not."""
        if self.record.write is None:
            pytest.skip("the record has no `write`")
        for index, model in enumerate(self._made()):
            folder = tmp_path / str(index)
            folder.mkdir()
            self.write_model(model, folder)
            found = type(model).from_pretrained(folder, dtype=torch.float32)
            for name, parameter in model.named_parameters():
                self._equal(found.get_parameter(name).detach(), parameter.detach(), f"`{name}`")
            ids = torch.arange(3, 12)[None]
            with torch.no_grad():
                assert_to_scale(found(ids).logits, model(ids).logits, max(100 * self.tolerance, 1e-5), "logits")
