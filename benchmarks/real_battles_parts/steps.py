"""The steps of the benchmark: each asks methods about battles that they were not trained on, and keeps the answers."""

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from real_battles_parts.fine_tuning import FineTuning, simulate_battles
from real_battles_parts.heads import (
    Examples,
    as_predictions,
    length_features,
    predict_head,
    probe,
    state_features,
    zero_shot,
)
from real_battles_parts.measuring import FOLDS, Results
from real_battles_parts.trunk import TrunkStates, compute_states, read_answer_rows, tokenize
from wsdm_arena.config import LauncherConfig, PreferencesConfig, ProjectConfig, deep_merge
from wsdm_arena.preferences.battles import build_battles
from wsdm_arena.preferences.raw_tables import find_files, read_raw_tables
from wsdm_arena.prompts.store import TokenStore
from wsdm_arena.scoring.baselines import score_longer_wins, score_tfidf

CONF = Path(__file__).resolve().parents[2] / "conf"
HUMAN = ("llmbar", "pandalm_test", "oasst_en_100trees")
"""Sources whose labels come from people."""
LLM_JUDGED = ("ja_vicuna_qa_gpt4judge", "arenahard_v01_llmjudge")
MODELS = {"smollm2_135m": {"system_role": True, "english_only": True}, "gemma3_270m": {"system_role": False}}
SIMULATED = "simulated"
TRUNCATION = {"max_battle_tokens": 256, "shared_budget": {"reserved_tokens": 13, "max_prompt_tokens": 80}}
"""The answers share what a prompt of at most so many tokens leaves of the battle's; headings count, too."""
HEADS = ("verbalizer", "mlp")
BASELINES = ("longer wins", "TF-IDF")
LEARNED_LENGTHS = "learned lengths"

logger = logging.getLogger(__name__)


class Steps:
    """Battles, models and results of one call."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.limits = dict.fromkeys([*HUMAN, *LLM_JUDGED], options.max_battles) | dict(options.limit)
        self.limits[SIMULATED] = options.simulated_battles
        name = ",".join([str(options.max_battles), *(f"{source}={limit}" for source, limit in sorted(options.limit))])
        self.results = Results(options.cache / "predictions" / name)
        layers = [yaml.safe_load((CONF / env / "parameters.yml").read_text()) for env in ("base", "small_llm")]
        self.project = ProjectConfig.model_validate(deep_merge(*layers, {"truncation": TRUNCATION}))
        self.whole = build_battles(read_raw_tables(find_files(options.data)), PreferencesConfig()).battles
        # pair ids are hashes: the first ones are a random draw, and part of any larger one
        ranks = self.whole.groupby("source")["pair_id"].rank(method="dense")
        self.battles = self.whole[ranks <= self.whole["source"].map(self.limits)].reset_index(drop=True)
        self.truncated: dict[str, dict[str, float]] = {}
        self.reading: dict[str, dict[str, float]] = {}

    def of(self, *sources: str) -> pd.DataFrame:
        """Battles of sources, as many as asked for."""
        return self.battles[self.battles["source"].isin(sources)].reset_index(drop=True)

    def all_of(self, *sources: str) -> pd.DataFrame:
        """All battles of sources."""
        return self.whole[self.whole["source"].isin(sources)].reset_index(drop=True)

    def scopes(self, available: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
        """What is trained on: each source for itself, then those of human labels together."""
        for source in available:
            yield source, self.of(source)
        human = [source for source in HUMAN if source in available]
        if len(human) > 1:
            yield "human", self.of(*human)

    def ask_texts(self) -> None:
        """Ask the baselines, in each scope."""
        for scope, battles in self.scopes(self.options.sources):
            self._ask_texts(scope, battles, sorted(battles["fold"].unique()))

    def _ask_texts(self, scope: str, battles: pd.DataFrame, folds: Sequence[int]) -> None:
        for name, score in zip(BASELINES, (score_longer_wins, score_tfidf), strict=True):
            if not self.results.has(scope, name):
                parts = [score(battles[battles["fold"] != fold], battles[battles["fold"] == fold]) for fold in folds]
                self.results.add(scope, name, pd.concat(parts))
        self._probe(scope, battles, folds, LEARNED_LENGTHS, [length_features(battles)])

    def model_dir(self, model: str) -> Path:
        """Where a language model lies."""
        return self.options.models / model

    def sources_of(self, model: str) -> list[str]:
        """Sources that a model can read: SmolLM2 knows English only."""
        english_only = MODELS[model].get("english_only", False)
        return [s for s in self.options.sources if not (english_only and s.startswith("ja_"))]

    def tokens(self, model: str, source: str) -> TokenStore:
        """Tokens of a source, or of the simulated arena, for a model."""
        pairs = simulate_training(self.options.simulated_battles) if source == SIMULATED else self.all_of(source)
        return tokenize(
            pairs,
            source,
            self.model_dir(model),
            self.project,
            system_role=bool(MODELS[model]["system_role"]),
            root=self.options.cache / "tokens",
        )

    def states(self, model: str, source: str, *, compute: bool) -> TrunkStates | None:
        """States of a source; None where they would have to be computed first."""
        store = self.tokens(model, source)
        options = self.options
        read = store.truncated[: self.limits[source]]
        self.truncated.setdefault(model, {})[source] = round(float(read.mean()), 3)
        states = compute_states(
            store,
            self.model_dir(model),
            options.cache / "states",
            device=options.device,
            dtype=options.dtype,
            max_tokens=options.max_tokens,
            max_pairs=self.limits[source],
            compute=compute,
        )
        if states is not None:
            speed = states.num_tokens / states.seconds
            self.reading.setdefault(model, {})[source] = round(states.seconds, 1)
            logger.info("%s, %s: %d tokens, %.0f a second", model, source, states.num_tokens, speed)
        return states

    def compute_all_states(self) -> None:
        """Read everything with every model."""
        for model in self.options.model:
            for source in [*self.sources_of(model), SIMULATED]:
                self.states(model, source, compute=True)

    def train_heads(self) -> None:
        """Train heads and probes on whatever states there are."""
        for model in self.options.model:
            found = {s: self.states(model, s, compute=False) for s in [SIMULATED, *self.sources_of(model)]}
            states = {source: part for source, part in found.items() if part is not None}
            answer_rows = read_answer_rows(self.model_dir(model), self.tokens(model, SIMULATED))
            simulated = None
            if SIMULATED in states:
                battles = simulate_training(self.options.simulated_battles)
                simulated = Examples(battles, states[SIMULATED].select("last", battles["pair_id"]))
            for scope, battles in self.scopes([s for s in self.sources_of(model) if s in states]):
                self._train_heads(model, scope, battles, states, answer_rows, simulated)

    def _train_heads(
        self,
        model: str,
        scope: str,
        battles: pd.DataFrame,
        states: dict[str, TrunkStates],
        answer_rows: np.ndarray,
        simulated: Examples | None,
    ) -> None:
        sources = list(dict.fromkeys(battles["source"]))
        joined = {
            name: np.concatenate(
                [states[s].select(name, battles.loc[battles["source"] == s, "pair_id"]) for s in sources]
            )
            for name in ("last", "layers", "answers")
        }
        battles = pd.concat([battles[battles["source"] == s] for s in sources], ignore_index=True)
        everything = Examples(battles, joined["last"])
        self._add_logits(scope, f"zero-shot, {model}", everything, zero_shot(everything.states, answer_rows))
        folds = sorted(battles["fold"].unique())
        for kind, pretraining in product(HEADS, [None] if simulated is None else [None, simulated]):
            name = f"{kind} head{'' if pretraining is None else ', pretrained'}, {model}"
            if self.results.has(scope, name):
                continue
            start, logits = time.perf_counter(), np.empty((len(battles), 2, 2))
            for fold in folds:
                asked = np.flatnonzero(battles["fold"] == fold)
                learned = everything.take(np.flatnonzero(battles["fold"] != fold))
                logits[asked] = predict_head(
                    kind, learned, everything.take(asked), answer_rows, pretraining=pretraining, seed=self.project.seed
                )
            self._add_logits(scope, name, everything, logits)
            logger.info("%s: %s in %.0f s", scope, name, time.perf_counter() - start)
        preference = zero_shot(everything.states, answer_rows)
        for name, features in state_features(battles, joined, preference).items():
            self._probe(scope, battles, folds, f"{name}, {model}", features)

    def _probe(
        self, scope: str, battles: pd.DataFrame, folds: Sequence[int], name: str, features: Sequence[np.ndarray]
    ) -> None:
        """Ask a logistic regression about each of the folds."""
        if self.results.has(scope, name):
            return
        chances, chosen = np.empty(len(battles)), []
        for fold in folds:
            held_out = (battles["fold"] == fold).to_numpy()
            chances[held_out], number = probe(battles, features, held_out)
            chosen.append(number)
        logger.info("%s: %s: chosen %s", scope, name, chosen)
        table = battles[["battle_id", "pair_id"]].assign(probability_a=chances, probability_b=1 - chances)
        self.results.add(scope, name, table[battles["fold"].isin(folds)])

    def _add_logits(self, scope: str, name: str, examples: Examples, logits: np.ndarray) -> None:
        self.results.add_predictions(scope, name, examples.battles, as_predictions(examples, logits))

    def train(self) -> None:
        """Fine-tune end to end on the sources of human labels, with and without the simulated arena before."""
        options = self.options
        sources = [source for source in HUMAN if source in options.sources]
        if not sources:
            logger.info("none of %s is a source of human labels: nothing is trained end to end", options.sources)
            return
        human = self.all_of(*sources)
        folds = sorted(options.training_folds)
        scope = f"{'human' if len(sources) == len(HUMAN) else '+'.join(sources)}{FOLDS}{'-'.join(map(str, folds))}"
        epochs = f", {options.epochs} epochs" if options.epochs > 1 else ""
        self._ask_texts(scope, human, folds)
        for model, head in product(options.model, options.heads):
            tuning = FineTuning(
                model=self.model_dir(model),
                system_role=bool(MODELS[model]["system_role"]),
                project=self.project,
                training={
                    "dtype": options.dtype,
                    "optimizer": {"peak_learning_rate": options.learning_rate},
                    "max_battles": options.max_training_battles,
                    "epochs": options.epochs,
                    "evaluation": {"battles_at_start": 0},
                },
                work=options.cache / "training",
                launcher=LauncherConfig(device=options.device, threads_per_process=torch.get_num_threads()),
            )
            for pretrained in options.pretraining:
                name = f"{head} judge, end to end{epochs}{', pretrained' if pretrained else ''}, {model}"
                if self.results.has(scope, name):
                    continue
                initial = None
                if pretrained:
                    simulated = simulate_battles(options.simulated_battles)
                    initial = tuning.run(simulated, SIMULATED, head=head, fold=0).model
                runs = [tuning.run(human, "human", head=head, fold=fold, initial=initial) for fold in folds]
                predictions = pd.concat([pd.read_parquet(run.predictions) for run in runs], ignore_index=True)
                self.results.add_predictions(scope, name, human[human["fold"].isin(folds)], predictions)


def simulate_training(num_battles: int) -> pd.DataFrame:
    """The simulated battles that are trained on."""
    battles = simulate_battles(num_battles)
    return battles[battles["fold"] != 0].reset_index(drop=True)
