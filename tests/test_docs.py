"""What the documentation says exists: links, commands, parameters, messages, figures; its examples run."""

import ast
import functools
import itertools
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd
import pytest
import yaml
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.cli.utils import _split_params
from kedro.framework.project import configure_project, settings

from wsdm_arena.config.reference import GLOBALS, read_environment, write_reference
from wsdm_arena.config_loader import GlobalsConfig, LocalLastConfigLoader, RawFiles
from wsdm_arena.pipeline_registry import register_pipelines

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
PAGES = sorted([PROJECT / "README.md", PROJECT / "notebooks" / "README.md", *DOCS.rglob("*.md")])
EXAMPLES = DOCS / "examples"


def page_id(page: Path) -> str:
    return page.relative_to(PROJECT).as_posix()


def code_blocks(page: Path, language: str = "") -> list[str]:
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [block for marked, block in fences if marked == language]


def commands(page: Path, program: str) -> set[str]:
    """Command lines of a program, in blocks and in backticks, without comments and continuation."""
    text = page.read_text()
    lines = [line for block in code_blocks(page) for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = set()
    for line in (*lines, *spans):
        stripped = re.sub(r"^(exec )?(\.venv/bin/)?", "", line.strip())
        if re.match(rf"{program}( |$)", stripped):
            found.add(re.sub(r"\s+#.*", "", stripped))
    return found


def anchors(page: Path) -> set[str]:
    """As GitHub names headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        aimed = (page.parent / path).resolve() if path else page
        assert aimed.exists(), target
        if anchor:
            assert anchor in anchors(aimed), target


def test_every_page_is_in_the_contents():
    listed = set(re.findall(r"\]\(([^)#]+\.md)\)", (DOCS / "README.md").read_text()))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= listed


@pytest.fixture(scope="module")
def kedro() -> KedroCLI:
    before = os.environ.get("KEDRO_ENV")
    group = KedroCLI(PROJECT)
    yield group
    os.environ.pop("KEDRO_ENV", None)
    if before is not None:
        os.environ["KEDRO_ENV"] = before


@functools.cache
def registered_pipelines() -> set[str]:
    return set(register_pipelines())


@pytest.fixture(scope="module")
def conf(tmp_path_factory) -> Path:
    """The project's environments and those of the examples."""
    copy = tmp_path_factory.mktemp("project") / "conf"
    shutil.copytree(PROJECT / "conf", copy)
    for own in (copy / "local").glob("*.y*ml"):
        own.unlink()
    shutil.copytree(EXAMPLES / "one_gpu", copy / "one_gpu")
    return copy


def load(conf: Path, env: str | None, params: dict) -> dict:
    configure_project("wsdm_arena")
    loader = LocalLastConfigLoader(conf_source=str(conf), env=env, runtime_params=params, **settings.CONFIG_LOADER_ARGS)
    assert loader["globals"]["data_root"]
    return loader["parameters"]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_kedro_command_exists_with_its_options_and_parameters(page, kedro, conf):
    for line in commands(page, "kedro"):
        command, words = find_command(kedro, shlex.split(line.replace("...", ""))[1:])
        assert command is not None, line
        options = [name for option in command.params if isinstance(option, click.Option) for name in option.opts]
        for word in words:
            assert not word.startswith("-") or word in options, f"{line}: no option {word}"
        if "<" in line:
            continue
        given = dict(itertools.pairwise(words))
        if pipelines := given.get("--pipelines"):
            assert set(pipelines.split(",")) <= registered_pipelines(), line
        load(conf, given.get("--env"), _split_params(None, None, given.get("--params", "")))


def find_command(group: click.Group, words: list[str]) -> tuple[click.Command | None, list[str]]:
    """The command that words name, through groups, and the words behind it."""
    command: click.Command | None = group
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command, words = command.get_command(click.Context(command), words[0]), words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) :=", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for line in commands(page, "make"):
        for word in shlex.split(line.replace("...", ""))[1:]:
            if "=" in word:
                assert word.partition("=")[0] in variables, line
            elif not word.startswith("-"):
                assert word in targets, line


def test_the_reference_is_not_stale():
    assert (DOCS / "parameters.md").read_text() == write_reference(PROJECT / "conf"), "run: make docs"


def test_every_key_of_the_files_is_in_the_reference():
    page = (DOCS / "parameters.md").read_text()
    keys = set(re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE))
    for kind in ("parameters", "sources"):
        tree = read_environment(PROJECT / "conf" / "base", kind)
        for path in _mapping_keys(tree):
            assert path in keys or path in page, path


def _mapping_keys(tree: dict, names: frozenset[str] = frozenset()) -> Iterator[str]:
    """Keys of a tree but those that a user chooses."""
    chosen = {"judges", "stages", "overrides", "rounds", "devices", "backbones", "answer_models", "inputs", "models"}
    for key, value in tree.items():
        yield str(key)
        if isinstance(value, dict):
            inner = value.values() if key in chosen | {"files", "weights"} else [value]
            for each in inner:
                yield from _mapping_keys(each) if isinstance(each, dict) else ()


def test_globals_are_described_in_full():
    keys = {name for name in GlobalsConfig.model_fields if name != "raw"}
    assert set(GLOBALS) == keys | {f"raw.{name}" for name in RawFiles.model_fields}


def messages() -> list[str]:
    """Every text of the code, with … for what is put into it."""

    def texts(file: Path) -> Iterator[str]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                parts = node.values  # noqa: PD011  no frame
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)

    sources = [*(PROJECT / "src").rglob("*.py"), *(PROJECT / "scripts").glob("*.py")]
    found = [text for file in sources for text in texts(file)]
    return [*found, (PROJECT / "scripts" / "setup.sh").read_text()]


def test_every_message_of_the_troubleshooting_stands_in_the_code():
    rows = [line for line in (DOCS / "troubleshooting.md").read_text().splitlines() if line.startswith("| `")]
    quoted = [part for row in rows for part in re.findall("`([^`]+)`", row.split(" | ")[0])]
    known = messages()
    assert len(quoted) > 60
    assert [part for part in quoted if not any(part in message for message in known)] == []


def test_the_figures_of_the_recipe_are_those_of_conf_base(conf):
    parameters = load(conf, "base", {})
    page = (DOCS / "recipe.md").read_text()
    rows = set()
    for stage, judges in parameters["resolved"].items():
        for judge, resolved in judges.items():
            training = resolved["training"]
            has_window = parameters["judges"][judge]["backbone"]["model_type"] == "gemma2"
            window = ("on" if resolved["sliding_window"] else "off") if has_window else "none"
            figures = (training["optimizer"]["name"], training["battles_per_update"], resolved["truncation"], window)
            rows.add(f"| {stage} | {judge} | {' | '.join(map(str, figures))} |")
    stated = {line for line in page.splitlines() if "adamw |" in line}
    assert stated == rows


def test_other_figures_of_the_recipe(conf):
    parameters = load(conf, "base", {})
    page = " ".join((DOCS / "recipe.md").read_text().split())
    common, cut = parameters["training"], parameters["truncation"]
    optimizer, schedule = common["optimizer"], common["schedule"]
    preferences, labels = parameters["preferences"], parameters["pseudo_labels"]
    generation, submission = parameters["generation"], parameters["submission"]
    teacher = parameters["resolved"]["teacher"]
    large, head = teacher["gemma_large"]["training"], teacher["gemma"]["head"]
    rounds = generation["rounds"]
    weights = {stage: submission[stage]["weights"] for stage in ("student", "final")}

    def ratio(judges: dict[str, dict]) -> str:
        return " : ".join(f"{judge['weight']:g}" for judge in judges.values())

    said = [
        f"{preferences['num_folds']} folds, stratified by winner",
        f"fold {preferences['held_out_fold']} is held out",
        f"1 in {preferences['hold_back_every']} English battles waits",
        f"more than {cut['per_field']['max_prompt_tokens']} tokens, "
        f"an answer more than {cut['per_field']['max_response_tokens']}",
        f"exceed {cut['max_battle_tokens']} - {cut['shared_budget']['reserved_tokens']} tokens",
        f"capped at {cut['shared_budget']['max_prompt_tokens']}",
        f"{common['max_tokens_per_micro_batch']}; `gemma_large` {large['max_tokens_per_micro_batch']}",
        f"| epochs | {common['epochs']} |",
        f"| peak learning rate | {_short(optimizer['peak_learning_rate'])} |",
        f"| betas, epsilon, weight decay | {optimizer['betas'][0]} and {optimizer['betas'][1]}, "
        f"{_short(optimizer['epsilon'])}, {optimizer['weight_decay']} (matrices only) |",
        f"the first {schedule['warmup_fraction']:.0%} of the updates".replace("%", " %"),
        f"from {schedule['initial_factor']} of the peak",
        f"linear, to {schedule['final_factor']} of the peak",
        f"| seed | {parameters['seed']} |",
        f"Dropout {head['dropout']}, Linear(h, h/2), Dropout {head['dropout']}",
        f"every {teacher['gemma']['training']['evaluation']['every_updates']} updates "
        f"(llama {teacher['llama']['training']['evaluation']['every_updates']})",
        f"| {ratio(labels['collected_pairs']['judges'])} | ab, ab, ab | {labels['collected_pairs']['truncation']} "
        f"| {labels['collected_pairs']['min_margin']} |",
        f"| {ratio(labels['generated_pairs']['judges'])} | ab, ba | {labels['generated_pairs']['truncation']} "
        f"| {labels['generated_pairs']['min_margin']} |",
        f"at least {generation['mining']['min_words']} words",
        f"others {generation['mining']['min_characters']} characters",
        *(
            f"| {name} | {_slice(round_['first_language'])} | {_slice(round_['others'])} |"
            for name, round_ in rounds.items()
        ),
        f"a roster of {len(rounds['v1']['answer_models'])} answer models",
        f"| {len(rounds['v2']['answer_models'])} answer models |",
        f"temperature {generation['sampling']['temperature']}, top-p {generation['sampling']['top_p']}, "
        f"at most {generation['sampling']['max_new_tokens']} new tokens",
        f"{weights['student']['gemma']:g} : {weights['student']['llama']:g} for the students",
        f"{weights['final']['gemma']:g} : {weights['final']['llama']:g} for the final judges",
        f"which is {1 / weights['student']['gemma']:g} and {1 / weights['final']['gemma']:g}",
        f"what {submission['compare_with_threshold']} would have cost",
    ]
    assert [text for text in said if text not in page] == []


def _short(number: float) -> str:
    return f"{number:g}".replace("e-0", "e-")


def _slice(bounds: list[int | None]) -> str:
    return f"{bounds[0]} to {'the end' if bounds[1] is None else bounds[1]}"


def test_the_example_environment_is_valid_and_names_its_own_judges(conf):
    parameters = load(conf, "one_gpu", {})
    assert set(parameters["resolved"]["teacher"]) == {"qwen", "qwen_small"}
    used = {name for round_ in parameters["generation"]["rounds"].values() for name in round_["answer_models"]}
    sizes = parameters["planning"]["answer_models"]
    assert max(sizes[name]["parameters"] for name in used) < 15e9
    assert {parameters["generation"]["answer_models"][name]["tensor_parallel_size"] for name in used} == {1}


def test_the_slurm_example_is_valid_and_meets_at_one_endpoint(conf):
    script = (EXAMPLES / "slurm" / "run.sbatch").read_text()
    shutil.copy(EXAMPLES / "slurm" / "parameters.yml", conf / "local" / "parameters.yml")
    try:
        launcher = load(conf, "a100", {"launcher": {"rendezvous_endpoint": "node1:29500"}})["launcher"]
    finally:
        (conf / "local" / "parameters.yml").unlink()
    assert f"--nodes={launcher['nodes']}\n" in script
    assert f"--gpus-per-node={launcher['processes_per_node']}\n" in script
    assert f"--nodes={launcher['nodes']}" in launcher["prefix"]
    assert "launcher.rendezvous_endpoint=$first_node:" in script


def yaml_examples() -> list[tuple[str, str]]:
    return [(page_id(page), block) for page in PAGES for block in code_blocks(page, "yaml")]


@pytest.mark.parametrize(("page", "block"), yaml_examples(), ids=lambda value: value if len(value) < 40 else "yaml")
def test_yaml_of_the_pages_is_what_conf_local_takes(page, block, conf):
    tree = yaml.safe_load(block)
    kinds = {"raw": "globals", "data_root": "globals", "data_home": "globals", "inputs": "sources", "models": "sources"}
    kind = kinds.get(next(iter(tree)), "parameters")
    file = conf / "local" / f"{kind}.yml"
    file.write_text(re.sub("<64 hexadecimal digits>", "a" * 64, block))
    try:
        configure_project("wsdm_arena")
        loader = LocalLastConfigLoader(conf_source=str(conf), env="a100", **settings.CONFIG_LOADER_ARGS)
        assert loader[kind]
    finally:
        file.unlink()


def run_examples(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Execute the pieces of Python on a page, one after the other, in one namespace."""
    monkeypatch.chdir(folder)
    names: dict = {}
    for block in code_blocks(DOCS / page, "python"):
        exec(compile(block, page, "exec"), names)
    return names


def test_data_source_example(tmp_path, monkeypatch):
    tables = run_examples("add_a_data_source.md", tmp_path, monkeypatch)["tables"]
    assert tables.battles["winner"].tolist() == ["model_a", "model_a", "model_a", "tie"]
    assert set(tables.battles["language"]) == {"en"}
    assert tables.report["num_battles"] == 4
    assert tables.battles.groupby("prompt_group")["fold"].nunique().max() == 1


def test_generator_example(tmp_path, monkeypatch):
    names = run_examples("add_a_generator.md", tmp_path, monkeypatch)
    assert names["answers"]["finish_reason"].tolist() == ["stop"]


@pytest.mark.slow
def test_qwen_example_is_imported_tokenised_and_read(tmp_path, monkeypatch, conf):
    """The page's example from the block of parameters to logits of a battle."""
    import torch

    from wsdm_arena.batching.packed import PackedBatch
    from wsdm_arena.config import BackboneConfig, HeadConfig, TemplateConfig, TruncationConfig
    from wsdm_arena.modeling.backbone_import import import_backbone, read_backbone_manifest
    from wsdm_arena.modeling.judge import build_judge
    from wsdm_arena.prompts.store import TokenStore, build_token_store

    (tmp_path / "src").symlink_to(PROJECT / "src")
    (tmp_path / "data").mkdir()
    run_examples("add_a_judge.md", tmp_path, monkeypatch)
    block = yaml.safe_load(code_blocks(DOCS / "add_a_judge.md", "yaml")[0])
    block["judges"]["qwen"]["backbone"]["source"] = "data/tiny_qwen"
    parameters = load(conf, "sample", {key: block[key] for key in ("roster", "judges")})
    assert parameters["resolved"]["teacher"]["qwen"]["training"]["battles_per_update"] == 32
    backbone = BackboneConfig.model_validate(parameters["judges"]["qwen"]["backbone"])
    imported = import_backbone(tmp_path / "data" / "tiny_qwen", backbone=backbone, root=tmp_path / "backbones")
    assert read_backbone_manifest(imported)["model_type"] == "qwen2"
    texts = {"pair_id": ["0" * 32], "prompt": ["2 + 2?"], "response_a": ["4"], "response_b": ["Five, I think."]}
    resolved = parameters["resolved"]["teacher"]["qwen"]
    tokens = build_token_store(
        pd.DataFrame(texts),
        table="battles",
        tokenizer_dir=imported,
        template=TemplateConfig.model_validate(parameters["template"]),
        system_role=resolved["system_role"],
        truncation=TruncationConfig.model_validate(parameters["truncation"]),
        policy=resolved["truncation"],
        root=tmp_path / "tokens",
    )
    store = TokenStore.open(tokens)
    judge = build_judge(imported, head=HeadConfig(), num_classes=2).eval()
    with torch.no_grad():
        together = judge(PackedBatch.from_sequences([store.sequence(0, order) for order in ("ab", "ba")]))
        alone = [judge(PackedBatch.from_sequences([store.sequence(0, order)])) for order in ("ab", "ba")]
    assert together.shape == (2, 2)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)
    assert not torch.equal(together[0], together[1])
