"""JSON from strangers: read or refused, with the file and the place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transept.errors import CorruptFileError
from transept.files import parse_json, read_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_what_json_writes_is_read(value):
    assert parse_json(
        json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), "x"
    ) == value or "\\ud" in json.dumps(value)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", "line 1, column 1"),
        (b'{"a": 1,}', "line 1, column 9"),
        (b'{\n "a": [1 2]}', "line 2, column 10"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' stands twice"),
        (b'{"x": {"a": 1, "a": 1}}', "'a' stands twice"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b"[" * 200_000, "RecursionError"),
        (b"1" * 5000, "ValueError"),
    ],
)
def test_an_error_names_the_file_and_the_place(tmp_path, data, place):
    path = tmp_path / "config.json"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError) as caught:
        read_json(path)
    assert place in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_byte_order_mark_is_accepted(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(tmp_path / "x.json") == {}


def test_a_file_above_the_limit_is_not_read(tmp_path):
    (tmp_path / "x.json").write_text("[" + "1," * 100 + "1]")
    with pytest.raises(CorruptFileError, match="larger than 50 bytes"):
        read_json(tmp_path / "x.json", max_bytes=50)


def test_a_missing_file_is_python_s_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "x.json")
