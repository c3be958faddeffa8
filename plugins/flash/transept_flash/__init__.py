"""FlashAttention 2 (https://arxiv.org/abs/2307.08691) and 3 (https://arxiv.org/abs/2407.08608) as attention kernels of transept."""

__version__ = "0.1.0"
