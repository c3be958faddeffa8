"""`transept quantize`: any installed quantizer on any checkpoint, with calibration data, perplexity and a report."""

__version__ = "0.1.0"
