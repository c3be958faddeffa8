"""Names that files of the original BERT have, and the model's."""

from transept.checkpoints import KeyMap, Rename

__all__ = ["KEY_MAP"]

KEY_MAP = KeyMap(
    [
        Rename("*.LayerNorm.gamma", "*.LayerNorm.weight"),
        Rename("*.LayerNorm.beta", "*.LayerNorm.bias"),
    ]
)
