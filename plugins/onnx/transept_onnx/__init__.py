"""ONNX: models exported, checked, quantized, and run with onnxruntime."""

__version__ = "0.1.0"
