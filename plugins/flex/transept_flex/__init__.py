"""torch's flex attention (https://arxiv.org/abs/2412.05496) as an attention kernel of transept."""

__version__ = "0.1.0"
