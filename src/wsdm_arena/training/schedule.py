"""The learning rate of each update: one straight line up, one down, across all phases of a run."""

from wsdm_arena.config import ScheduleConfig


def learning_rate_factor(update: int, num_updates: int, schedule: ScheduleConfig) -> float:
    """Share of the peak learning rate that an update uses.

    Warm-up takes the first ``round(warmup_fraction * num_updates)`` updates, but never the last one; the first update
    after it has the peak, the last of the run ``final_factor``.

    Args:
        update: Number of the update, from 0.
        num_updates: Of the whole run, all phases and epochs.
        schedule: Length of the warm-up, and both ends.

    Example:
        >>> schedule = ScheduleConfig(warmup_fraction=0.4, initial_factor=0.0, final_factor=0.5)
        >>> [learning_rate_factor(update, 5, schedule) for update in range(5)]
        [0.0, 0.5, 1.0, 0.75, 0.5]
    """
    num_warmup = min(round(schedule.warmup_fraction * num_updates), num_updates - 1)
    if update < num_warmup:
        return schedule.initial_factor + (1 - schedule.initial_factor) * update / num_warmup
    num_decay = max(num_updates - 1 - num_warmup, 1)
    return 1 + (schedule.final_factor - 1) * (update - num_warmup) / num_decay
