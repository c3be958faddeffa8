"""`export_onnx`: from a model to a folder of ONNX files, checked against the model."""

from __future__ import annotations

import io
import logging
import os
import re
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from transept.errors import InputError, SaveError, TranseptError, did_you_mean, shorten

from .check import check_graph, sizes_for
from .errors import ExportCheckError, ExportError
from .graphs import Graph, Sizes, as_exported, graphs_of
from .quantize import quantize_file
from .report import ExportReport, File

__all__ = ["QUANTIZED", "export_onnx"]

QUANTIZED = "_quantized"
"""Stands before `.onnx` in the names of quantized files."""
_METHODS = ("int8",)
_ONE_FILE = 1 << 30
"""Bytes of weights up to which a graph holds them itself: a protobuf message ends at two GiB."""


def export_onnx(
    model: Any,
    destination: str | os.PathLike[str],
    *,
    cache: bool | None = None,
    quantize: str | None = None,
    opset_version: int | None = None,
    tolerance: float = 1e-4,
    tokenizer: Any = None,
) -> ExportReport:
    """Write a model as ONNX, and compare what onnxruntime makes of it with the model at several sizes.

    Every batch size and length is served by the one file. A decoder becomes `model.onnx`, whose `past_key_values.N.key` and
    `.value` may hold no token, so that it serves the prompt and each step after it. An encoder–decoder becomes
    `encoder_model.onnx`, `decoder_model.onnx` for the first pass and `decoder_with_past_model.onnx` for those after it.

    Args:
        model: a `PreTrainedModel` on the CPU.
        destination: the folder; it gets the configuration as well, and is made where it is missing.
        cache: keys and values go in and out; None: where the model generates.
        quantize: `"int8"`: also write `…_quantized.onnx`, with the weights of linear layers and embeddings in 8 bits and
            activations rounded as they come (onnxruntime's dynamic quantization).
        opset_version: of the operators; None: torch's choice.
        tolerance: the largest difference that is let pass, relative to the largest value of an output. Quantized files are compared
            too, and not held to it.
        tokenizer: saved beside the model, so that a pipeline finds it.

    Returns:
        What was written and measured; `str` of it is a table.

    Raises:
        ExportError: the model is not on the CPU, or something in it has no place in an ONNX graph: the message names operator and
            module. The folder is then as it was, but for files that were written before.
        ExportCheckError: onnxruntime gives other numbers; the files are written, so that they can be looked at.
    """
    folder = Path(destination)
    if quantize is not None and quantize not in _METHODS:
        raise InputError(
            f"`quantize` is {quantize!r}.{did_you_mean(str(quantize), _METHODS)} It is one of {shorten(_METHODS)}, or None."
        )
    if folder.exists() and not folder.is_dir():
        raise SaveError(f"`{folder}` is a file, and the export needs a folder: give another name.")
    places = {str(tensor.device) for tensor in model.parameters()}
    if places - {"cpu"}:
        raise ExportError(f"`{type(model).__name__}` is on {shorten(sorted(places))}: move it first, `model.to('cpu')`.")
    report = ExportReport(type(model).__name__, tolerance)
    with as_exported(model):
        made = []
        for graph in graphs_of(model, cache=cache):
            started = time.perf_counter()
            made.append((graph, to_onnx(graph, opset_version), time.perf_counter() - started))
        folder.mkdir(parents=True, exist_ok=True)
        for graph, program, seconds in made:
            report.files.append(File(graph.file, _write(program, folder / graph.file), seconds))
            report.checks += check_graph(graph, folder / graph.file, sizes_for(graph))
        del made
        if quantize is not None:
            _quantize(model, folder, report, graphs_of(model, cache=cache))
    model.config.save_pretrained(folder)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    if not report.ok:
        worst = next(check for check in report.checks if not (check.quantized or check.within(tolerance)))
        raise ExportCheckError(
            f"`{worst.file}` differs from the model: `{worst.output}` by {worst.relative:.1e} of its scale with {worst.sizes}, and "
            f"`tolerance` is {tolerance:.0e}. The files are in `{folder}`. Raise `tolerance` if that is near enough.",
            report=report,
        )
    return report


def _quantize(model: Any, folder: Path, report: ExportReport, graphs: list[Graph]) -> None:
    for graph in graphs:
        started = time.perf_counter()
        file = folder / graph.file.replace(".onnx", f"{QUANTIZED}.onnx")
        size = quantize_file(folder / graph.file, file)
        report.files.append(File(file.name, size, time.perf_counter() - started))
        report.checks += check_graph(graph, file, sizes_for(graph)[:1], quantized=True)


def to_onnx(graph: Graph, opset_version: int | None = None) -> Any:
    """torch's `ONNXProgram` for a graph.

    Raises:
        ExportError: it cannot be traced, or has an operator that ONNX lacks.
    """
    example = graph.inputs(Sizes(2, 5, past=7, source=11))
    axes = graph.axes()
    with torch.no_grad():
        outputs = graph(example)  # what the model itself refuses is said in its own words
    try:
        with _quietly(), torch.no_grad():
            return torch.onnx.export(
                graph.eval(),
                kwargs={"inputs": example},
                dynamic_shapes={"inputs": {name: dict(axes[name]) for name in example}},
                input_names=list(example),
                output_names=list(outputs),
                opset_version=opset_version,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise _explained(error, graph) from error


def _write(program: Any, file: Path) -> int:
    """Save a program; returns how many bytes it takes."""
    weights = sum(_bytes(value) for value in program.model.graph.initializers.values())
    beside = file.with_name(f"{file.name}.data")
    for old in (file, beside):
        old.unlink(missing_ok=True)
    with _quietly():
        program.save(str(file), external_data=weights > _ONE_FILE)
    return sum(each.stat().st_size for each in (file, beside) if each.exists())


def _bytes(value: Any) -> int:
    return 0 if value.const_value is None else int(value.const_value.nbytes)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch's exporter says about itself: its warnings, its log and its progress."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _explained(error: BaseException, graph: Graph) -> TranseptError:
    """The exporter's error in one paragraph: which operator of which module is in the way."""
    chain = list(_chain(error))
    own = next((each for each in chain if isinstance(each, TranseptError)), None)
    if own is not None:
        return ExportError(f"While `{graph.file}` was traced: {own}")
    node = next((node for each in chain for node in _nodes(each)), None)
    if node is not None:
        operator, (module, kind) = _operator(node), _module(node)
        lacking = any("No ONNX function found" in str(each) for each in chain)
        why = "ONNX has no operator for it" if lacking else f"it cannot be translated: {_first_line(chain[-1])}"
        return ExportError(
            f"`{operator}` in `{module or 'the model'}`{f' (`{kind}`)' if kind else ''} has no place in `{graph.file}`: {why}. "
            "Say the same with other operators there, or give torch a translation (`custom_translation_table` of `torch.onnx.export`).",
            operator=operator,
            module=module,
        )
    return ExportError(
        f"`{type(graph.model).__name__}` cannot be traced into `{graph.file}`: {type(chain[-1]).__name__}: {_first_line(chain[-1])}. "
        f"{_place(chain[-1])}What depends on values of tensors has to be said with tensors."
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _nodes(error: BaseException) -> Iterator[Any]:
    """The graph's nodes that frames of an error were working on."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("node")
        if isinstance(node, torch.fx.Node) and node.op == "call_function":
            yield node


def _operator(node: Any) -> str:
    return re.sub(r"\.default$", "", str(node.target))


def _module(node: Any) -> tuple[str, str]:
    """Path and class of the module that a node comes from, as the model's user knows them."""
    stack = [each for each in (node.meta.get("nn_module_stack") or {}).values() if each[0]]
    if not stack:
        return "", ""
    path, kind = stack[-1]
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    # the graph holds the model under this name
    return re.sub(r"^(L\['self'\]\.)?model\.?", "", str(path)), kind.rpartition(".")[2]


def _first_line(error: BaseException) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    return (text.splitlines() or [type(error).__name__])[0].rstrip(".")


def _place(error: BaseException) -> str:
    """Where in the model's code it happened: the last frame that is no code of torch."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if f"{os.sep}torch{os.sep}" not in frame.filename]
    return f"It comes from {Path(frames[-1].filename).name}, line {frames[-1].lineno}. " if frames else ""
