"""What this dist offers."""

from collections.abc import Iterable
from typing import Any

from transept_hookspecs import AttentionKernelSpec, hookimpl


@hookimpl
def provide_attention() -> Iterable[AttentionKernelSpec]:
    shared: dict[str, Any] = {
        "masks": frozenset({"causal", "bidirectional", "sliding_window", "keep", "documents"}),
        "dtypes": frozenset({"float16", "bfloat16"}),
        "devices": frozenset({"cuda"}),
        "max_head_dim": 256,
        "softcap": True,
        "priority": -10,  # not tried on a GPU by this project's tests: by name alone
    }
    return [
        AttentionKernelSpec(
            key="flash_attention_2",
            kernel="transept_flash.kernel:flash_attention_2",
            requires="transept_flash.requirements:flash_attention_2",
            dropout=True,
            description="the flash_attn package; padding and documents are packed, holes between kept keys go to sdpa",
            **shared,
        ),
        AttentionKernelSpec(
            key="flash_attention_3",
            kernel="transept_flash.kernel:flash_attention_3",
            requires="transept_flash.requirements:flash_attention_3",
            description="the flash_attn_interface package, for Hopper; padding and documents are packed, holes go to sdpa",
            **shared,
        ),
    ]
