"""The conformance kit of transept: the checks that every plugin passes.

A plugin's test file subclasses one of these, and pytest runs the checks:

class TestLlama(CausalLMConformance):
    model_type = "llama"
    tiny = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
    peer = "Llama"
"""

import pytest

# a failed `assert` of the kit then shows its values, as one in a test file does
pytest.register_assert_rewrite(
    "transept_testing.attention_kernel",
    "transept_testing.cache",
    "transept_testing.causal_lm",
    "transept_testing.checkpoint_format",
    "transept_testing.comparing",
    "transept_testing.config",
    "transept_testing.models",
    "transept_testing.quantizers",
    "transept_testing.seq2seq",
    "transept_testing.tokenizer",
    "transept_testing.tokenizer_kinds",
    "transept_testing.windows",
)

from .attention_kernel import AttentionKernelConformance  # noqa: E402
from .cache import CacheConformance  # noqa: E402
from .causal_lm import CausalLMConformance  # noqa: E402
from .checkpoint_format import CheckpointFormatConformance  # noqa: E402
from .config import ConfigConformance  # noqa: E402
from .model import ModelConformance  # noqa: E402
from .quantizer import QuantizerConformance  # noqa: E402
from .seq2seq import Seq2SeqConformance  # noqa: E402
from .standard import Conformance  # noqa: E402
from .tokenizer import TokenizerConformance  # noqa: E402
from .windows import SlidingWindowConformance  # noqa: E402

__all__ = [
    "AttentionKernelConformance",
    "CacheConformance",
    "CausalLMConformance",
    "CheckpointFormatConformance",
    "ConfigConformance",
    "Conformance",
    "ModelConformance",
    "QuantizerConformance",
    "Seq2SeqConformance",
    "SlidingWindowConformance",
    "TokenizerConformance",
]
__version__ = "0.1.0"
