"""How GPT-2's checkpoints store linear layers: as (in, out), the weight of a convolution of width 1 in the original code."""

from transept.checkpoints import KeyMap, Transpose

__all__ = ["CONV1D"]

CONV1D = KeyMap(
    Transpose(f"*.{name}.weight")
    for name in (
        "attn.c_attn",
        "attn.c_proj",
        "crossattention.c_attn",
        "crossattention.q_attn",
        "crossattention.c_proj",
        "mlp.c_fc",
        "mlp.c_proj",
    )
)
"""From (in, out) to `torch.nn.Linear`'s (out, in), and back; under any prefix, and under none (docs/decisions/011)."""
