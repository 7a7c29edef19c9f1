"""A run of its own, to be killed: ``<vLLM's python> <model> <folder> <number of requests>``."""

import sys
from pathlib import Path

from tests.generation.generation_cases import make_requests
from tests.vllm.vllm_cases import vllm_config
from wsdm_arena.generation.engines import default_engines
from wsdm_arena.generation.generate import generate_answers

if __name__ == "__main__":
    python, model, folder, num_requests = sys.argv[1:]
    config = vllm_config(python, Path(model), sampling={"temperature": 1.0, "max_new_tokens": 48})
    requests = make_requests(int(num_requests), ["tiny"], rounds=("v1",)).drop_duplicates("prompt_group")
    engines = default_engines(log_folder=Path(folder) / "logs")
    table = generate_answers(requests, config, folder=Path(folder), engines=engines)
    table.to_parquet(Path(folder) / "table.parquet")
