"""What this dist offers: one placement."""

from collections.abc import Iterable

from transept_hookspecs import PlacementSpec, hookimpl


@hookimpl
def provide_placements() -> Iterable[PlacementSpec]:
    return [
        PlacementSpec(
            key="accelerate",
            plan="transept_accelerate.placement:plan",
            description="several devices, offload to CPU and disk, through accelerate",
        )
    ]
