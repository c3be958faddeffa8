"""The words that arguments take. They are strings: `"epoch"` and `IntervalStrategy.EPOCH` are equal."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["HubStrategy", "IntervalStrategy", "ParallelMode", "SamplingStrategy", "SaveStrategy", "SchedulerType"]


class IntervalStrategy(StrEnum):
    """When something is done."""

    NO = "no"
    STEPS = "steps"
    EPOCH = "epoch"


class SaveStrategy(StrEnum):
    """When a checkpoint is written; `best`: after each evaluation that is better than all before."""

    NO = "no"
    STEPS = "steps"
    EPOCH = "epoch"
    BEST = "best"


class HubStrategy(StrEnum):
    """What is uploaded, and when: the model at the end, at each save, with the newest checkpoint, or with all of them."""

    END = "end"
    EVERY_SAVE = "every_save"
    CHECKPOINT = "checkpoint"
    ALL_CHECKPOINTS = "all_checkpoints"


class SamplingStrategy(StrEnum):
    """The order of training examples."""

    RANDOM = "random"
    SEQUENTIAL = "sequential"
    GROUP_BY_LENGTH = "group_by_length"


class ParallelMode(StrEnum):
    NOT_PARALLEL = "not_parallel"
    DISTRIBUTED = "distributed"


class SchedulerType(StrEnum):
    """The schedules that this dist brings; `lr_scheduler_type` takes the name of any installed one."""

    LINEAR = "linear"
    COSINE = "cosine"
    COSINE_WITH_RESTARTS = "cosine_with_restarts"
    POLYNOMIAL = "polynomial"
    CONSTANT = "constant"
    CONSTANT_WITH_WARMUP = "constant_with_warmup"
    INVERSE_SQRT = "inverse_sqrt"
    REDUCE_ON_PLATEAU = "reduce_lr_on_plateau"
    COSINE_WITH_MIN_LR = "cosine_with_min_lr"
    COSINE_WARMUP_WITH_MIN_LR = "cosine_warmup_with_min_lr"
    WARMUP_STABLE_DECAY = "warmup_stable_decay"
    GREEDY = "greedy"
