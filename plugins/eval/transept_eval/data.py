"""Examples out of files, and the columns that a task reads."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from transept.errors import InputError, did_you_mean, shorten

__all__ = ["Columns", "name_of", "read_examples", "take_examples"]

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".text", ".conll", ".bio", ".iob", ".iob2")

Example = Mapping[str, Any]


def take_examples(dataset: Any, limit: int | None) -> list[Example]:
    """The examples of a dataset: a file, or an iterable of mappings (a list, one of the library `datasets`, a generator)."""
    if limit is not None and limit < 1:
        raise InputError(f"`limit` is a number of examples from 1 up, not {limit!r}.")
    if isinstance(dataset, str | os.PathLike):
        found: Sequence[Any] = read_examples(dataset)
        return list(found[:limit])
    if isinstance(dataset, Mapping):
        raise InputError(f"`dataset` is a mapping with {shorten(dataset)}: choose one split, such as `dataset['test']`.")
    if not isinstance(dataset, Iterable):
        raise InputError(f"`dataset` is a `{type(dataset).__name__}`: give a file, or examples as mappings.")
    examples = list(islice(dataset, limit))
    for place, example in enumerate(examples):
        if not isinstance(example, Mapping):
            raise InputError(f"Example {place} is a `{type(example).__name__}`: give mappings from column names to values.")
    if not examples:
        raise InputError("The dataset has no examples.")
    return examples


def name_of(dataset: Any) -> str:
    if isinstance(dataset, str | os.PathLike):
        return Path(dataset).name
    return str(getattr(getattr(dataset, "info", None), "dataset_name", None) or type(dataset).__name__)


def read_examples(path: str | os.PathLike[str]) -> list[Example]:
    """The examples of a file.

    `.jsonl`: one object a line. `.json`: a list of objects, or SQuAD's layout. `.csv`, `.tsv`: with a header. `.txt`: one
    example, whose `text` is all of it. `.conll`, `.bio`: a word a line with its tag last, and an empty line after a sentence.

    Raises:
        InputError: no such file, another kind, nothing in it, or a line that cannot be read, with its number.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(
            f"`{file}` is no file of examples that can be read: its name ends in none of {shorten(_SUFFIXES, 20)}."
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"`{file}` cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"`{file}` is not UTF-8 at byte {error.start}: convert it.") from error
    if not text.strip():
        raise InputError(f"`{file}` is empty: it needs one example at least.")
    if suffix in (".txt", ".text"):
        return [{"text": text}]
    if suffix in (".jsonl", ".ndjson"):
        found = _json_lines(text, file)
    elif suffix == ".json":
        found = _json(text, file)
    elif suffix in (".csv", ".tsv"):
        found = _table(text, "\t" if suffix == ".tsv" else ",", file)
    else:
        found = _tagged(text, file)
    if not found:
        raise InputError(f"`{file}` has no examples.")
    return found


def _json_lines(text: str, file: Path) -> list[Example]:
    found: list[Example] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"`{file}`, line {number}: this is no JSON ({error}).") from error
        if not isinstance(row, dict):
            raise InputError(f'`{file}`, line {number}: an example is an object, such as {{"text": …}}, not {line[:40]!r}.')
        found.append(row)
    return found


def _json(text: str, file: Path) -> list[Example]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise InputError(f"`{file}` is no JSON: {error}. One object a line is `.jsonl`.") from error
    rows = rows.get("data") if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f'`{file}` holds no list of objects, nor one under "data".')
    if rows and all("paragraphs" in row for row in rows):
        return [
            {**question, "context": paragraph["context"]}
            for article in rows
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]
    return rows


def _table(text: str, delimiter: str, file: Path) -> list[Example]:
    longest = csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a document may be one value
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = next(reader)
        if len(set(header)) < len(header):
            raise InputError(f"`{file}` has columns of one name: its first line is {shorten(header)}.")
        found = []
        for row in reader:
            if row and len(row) != len(header):
                raise InputError(
                    f"`{file}`, line {reader.line_num}: {len(row)} values for {len(header)} columns ({shorten(header)})."
                )
            if row:
                found.append(dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise InputError(f"`{file}`, line {reader.line_num}: {error}.") from error
    finally:
        csv.field_size_limit(longest)
    return found


def _tagged(text: str, file: Path) -> list[Example]:
    found: list[Example] = []
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        parts = line.split()
        if not parts or parts[0] == "-DOCSTART-":
            if tokens:
                found.append({"tokens": tokens, "tags": tags})
                tokens, tags = [], []
        elif len(parts) < 2:
            raise InputError(
                f"`{file}`, line {number}: a word and its tag are needed, and there is only {line.strip()[:40]!r}."
            )
        else:
            tokens.append(parts[0])
            tags.append(parts[-1])
    return found


class Columns:
    """Which column plays which part: as `given`, or the first of the usual names that the examples have.

    Args:
        examples: the examples; the first one's keys are the columns.
        usual: for each part, the usual names of its column.
        given: names that the user chose, by part.
        where: the file's or dataset's name, for messages.
    """

    def __init__(
        self, examples: Sequence[Example], usual: Mapping[str, Sequence[str]], given: Mapping[str, str] | None, where: str
    ) -> None:
        self.names = list(examples[0])
        self._where, self._found = where, {}
        for part in given or {}:
            if part not in usual:
                raise InputError(f"No column is for `{part}` here.{did_you_mean(part, usual)} There are {shorten(usual, 10)}.")
        for part, names in usual.items():
            chosen = (given or {}).get(part)
            if chosen is not None and chosen not in self.names:
                raise InputError(
                    f"`{where}` has no column `{chosen}`.{did_you_mean(chosen, self.names)} It has {shorten(self.names, 20)}."
                )
            self._found[part] = chosen or next((name for name in names if name in self.names), None)

    def has(self, part: str) -> bool:
        return self._found[part] is not None

    def name(self, part: str) -> str:
        """The column's name. Raises InputError where there is none."""
        found = self._found[part]
        if found is None:
            raise InputError(
                f"`{self._where}` has no column for `{part}`: it has {shorten(self.names, 20)}. Name the one that is meant: "
                f'`columns={{"{part}": …}}`, or `--column {part}=…`.'
            )
        return found

    def values(self, part: str, examples: Sequence[Example]) -> list[Any]:
        """The column's values. Raises InputError where an example has none."""
        name = self.name(part)
        for place, example in enumerate(examples):
            if example.get(name) is None:
                raise InputError(f"Example {place + 1} of `{self._where}` has no `{name}`.")
        return [example[name] for example in examples]

    def texts(self, part: str, examples: Sequence[Example]) -> list[str]:
        """As `values`, of strings."""
        found = self.values(part, examples)
        for place, value in enumerate(found):
            if not isinstance(value, str):
                raise InputError(f"Example {place + 1} of `{self._where}`: `{self.name(part)}` is no text but {value!r:.40}.")
        return found
