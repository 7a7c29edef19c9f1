"""From conversations to generated pairs."""

from kedro.pipeline import Node, Pipeline

from wsdm_arena.config import Lineup
from wsdm_arena.generation.pairs import build_generated_pairs
from wsdm_arena.pipelines.pair_generation.nodes import PACKAGE_ARGUMENT, answer_prompts, draw_answer_requests, mine


def create_pipeline(lineup: Lineup) -> Pipeline:
    """``mine -> draw -> answer -> pair``."""
    packages = {f"{PACKAGE_ARGUMENT}{name}": f"packaged_model.{name}" for name in lineup.answering_packages}
    return Pipeline(
        [
            Node(
                mine,
                {
                    "conversations": "conversations",
                    "battles": "battles",
                    "collected_pairs": "collected_pairs",
                    "test_pairs": "test_pairs",
                    "generation": "params:generation",
                    "mining_folder": "mining_folder",
                },
                {"mined_prompts": "mined_prompts@path", "report": "mining_report"},
                name="mine_prompts",
            ),
            Node(
                draw_answer_requests,
                ["mined_prompts@pandas", "params:generation"],
                ["answer_requests", "answer_requests_report"],
                name="draw_requests",
            ),
            Node(
                answer_prompts,
                {
                    "requests": "answer_requests",
                    "generation": "params:generation",
                    "simulation": "params:simulation",
                    "simulated_prompts": "simulated_prompts",
                    "answer_store": "answer_store",
                    **packages,
                },
                "answers",
                name="generate_answers",
            ),
            Node(
                build_generated_pairs,
                ["answer_requests", "answers"],
                ["generated_pairs", "generated_pairs_report"],
                name="build_generated_pairs",
            ),
        ],
        tags="pair_generation",
    )
