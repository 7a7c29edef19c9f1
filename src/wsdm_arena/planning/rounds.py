"""How many prompts the rounds of generation take."""

from wsdm_arena.config import ProjectConfig
from wsdm_arena.planning.figures import Basis, Figure
from wsdm_arena.planning.places import DataFolder, count_rows


def count_prompts(config: ProjectConfig, folder: DataFolder) -> Figure:
    """Prompts of all rounds, each of which becomes a pair; all answers are taken to be usable."""
    if (path := folder.answer_requests) is not None:
        return Figure(count_rows(path) // 2, Basis.ESTIMATED)
    return Figure(sum(prompts_by_round(config).values()), Basis.ASSUMED)


def prompts_by_round(config: ProjectConfig) -> dict[str, int]:
    """Prompts of each round of generation, where there are as many as ``planning.sizes`` says."""
    sizes, counts, others = config.planning.sizes, {}, {}
    for name, round_ in config.generation.rounds.items():
        first = _slice_size(round_.first_language, sizes.first_language_prompts)
        others[name] = _slice_size(round_.others, sizes.other_prompts)
        if round_.repeat_others_of is not None:
            others[name] += others[round_.repeat_others_of]
        counts[name] = first + others[name]
    return counts


def _slice_size(bounds: tuple[int, int | None], available: int) -> int:
    start, end = bounds
    return max(min(available if end is None else end, available) - start, 0)
