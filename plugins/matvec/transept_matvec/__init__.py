"""Matrix-vector products on all cores for transept: faster decoding of one sequence on a CPU."""

__version__ = "0.1.0"
