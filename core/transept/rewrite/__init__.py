"""Rewrites: the one way to change a model's modules, while it is loaded or when it is alive.

A rewrite selects modules (a leaf, or a parent whose parts become one), builds what replaces each, and converts their tensors.
On a model that is being loaded the modules are on `meta` and the stream brings converted tensors; on a live model the tensors
that the module holds are converted. What can be reverted can be undone, and is saved in the original layout.
"""

from .apply import applied_to, apply_live, apply_rewrites, undo
from .original import original_tensors, saved_tensors
from .rewrite import AppliedRewrite, Rewrite, automatic_rewrites, make_rewrite
from .tensors import local_tensors, own_storage, set_tensor
from .ties import ties_after

__all__ = [
    "AppliedRewrite",
    "Rewrite",
    "applied_to",
    "apply_live",
    "apply_rewrites",
    "automatic_rewrites",
    "local_tensors",
    "make_rewrite",
    "original_tensors",
    "own_storage",
    "saved_tensors",
    "set_tensor",
    "ties_after",
    "undo",
]
