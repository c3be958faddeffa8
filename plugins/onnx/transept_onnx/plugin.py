"""What `transept-onnx` offers."""

from collections.abc import Iterable

from transept_hookspecs import CommandSpec, ExporterSpec, hookimpl


@hookimpl
def provide_exporters() -> Iterable[ExporterSpec]:
    return [
        ExporterSpec(
            key="onnx",
            export="transept_onnx.export:export_onnx",
            suffix=".onnx",
            description="ONNX graphs, checked in onnxruntime against the model",
        )
    ]


@hookimpl
def provide_commands() -> Iterable[CommandSpec]:
    text = "Export a model to another format, and check what comes out against the model."
    return [CommandSpec(key="export", command="transept_onnx.command:export", help=text)]
