"""What an environment needs from outside: ``sources.yml`` and the models that the parameters name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wsdm_arena.config import ProjectConfig
from wsdm_arena.config.fetching import (
    FilePin,
    HubModelConfig,
    HubName,
    LicenceConfig,
    SourceConfig,
    SourcesConfig,
)

MODEL_FILES = (
    "model*.safetensors",
    "*.json",
    "tokenizer*",
    "*.model",
    "*.jinja",
    "merges.txt",
)
"""What is downloaded of a model: no pickles, no second copy of the weights in another format."""
CODE_FILES = "*.py"
"""Besides, of a model whose code is trusted."""
_UNKNOWN_LICENCE = "see its page"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class Input:
    """One thing to fetch.

    Attributes:
        name: What `kedro fetch` calls it; a model's is its name at Hugging Face.
        what: In a few words; whose it is, of a model.
        hub: Whose client downloads it.
        handle: Its name there; None: it is put into place by hand.
        how: What to obtain, where there is no handle.
        revision: Commit or version, if that is fixed.
        files: Pins by name at the hub; empty: all files, or those that ``patterns`` match.
        patterns: Files of a model.
        folder: Where its files go, and its manifest; of a model, only the manifest: files go to the hub's cache, where
            whoever reads them looks for them.
        bytes: Size of it all, about; None: unknown.
        licence: Its terms.
        own_files: What the user named instead; None: nothing.
        aliases: Other names that `kedro fetch` takes: of a model, the judges and answer models that it is.
        is_main: Some reader of a model names no revision, and must find what is fetched without one.
        conflict: Why it cannot be fetched as the parameters stand; empty if it can.
    """

    name: str
    what: str
    hub: HubName
    handle: str | None
    how: str
    revision: str | None
    files: Mapping[str, FilePin]
    patterns: tuple[str, ...]
    folder: Path
    bytes: int | None
    licence: LicenceConfig
    own_files: str | None = None
    aliases: tuple[str, ...] = ()
    is_main: bool = False
    conflict: str = ""

    @property
    def is_model(self) -> bool:
        """Whether it lies in the hub's cache."""
        return self.hub == "huggingface_model"

    @property
    def is_archive(self) -> bool:
        """Whether it comes as one archive, which needs its room a second time while it is unpacked."""
        return self.hub == "kaggle_dataset" and not self.files

    @property
    def at_kaggle(self) -> bool:
        """Whether Kaggle's client and token are asked for it."""
        return self.hub.startswith("kaggle")

    def place(self, name_at_hub: str) -> Path:
        """Where one of its files goes; whole datasets keep their folders, single files leave them behind."""
        return self.folder / (PurePosixPath(name_at_hub).name if self.files else name_at_hub)


@dataclass(frozen=True)
class _Use:
    """Who wants a model of the hub, and how; ``pin`` is the parameter that says at which revision."""

    name: str
    what: str
    revision: str | None
    pin: str
    trusts_code: bool = False


def list_inputs(
    sources: SourcesConfig,
    config: ProjectConfig,
    *,
    data_root: Path,
    own_files: Mapping[str, str],
    project: Path,
) -> list[Input]:
    """List all that a run in an environment reads and cannot make itself.

    Args:
        sources: What is known of inputs.
        config: The parameters: who takes part, and which models answer.
        data_root: The environment's data folder, absolute.
        own_files: ``raw`` of ``globals.yml``: files of one's own, by key.
        project: What relative names of directories start from.

    Returns:
        In the order of ``sources``, models last; none in an environment whose inputs are simulated.
    """
    if sources.simulated:
        return []
    raw = data_root / "01_raw"
    listed = [
        _as_input(name, source, raw, own_files.get(source.raw) if source.raw else None)
        for name, source in sources.inputs.items()
        if source.judge is None or _imports_checkpoint(config, source.judge)
    ]
    described = {source.judge for source in sources.inputs.values()}
    for judge in _judges(config):
        if _imports_checkpoint(config, judge) and judge not in described:
            listed.append(_undescribed_checkpoint(judge, raw, own_files.get("checkpoints")))
    return listed + _list_models(sources.models, config, raw, project)


def _as_input(name: str, source: SourceConfig, raw: Path, own_files: str | None) -> Input:
    pinned = [pin.bytes for pin in source.files.values()]
    exact = sum(size for size in pinned if size is not None) if pinned and None not in pinned else None
    return Input(
        name=name,
        what=source.what,
        hub=source.hub,
        handle=source.handle,
        how=source.how,
        revision=source.revision,
        files=source.files,
        patterns=(),
        folder=raw / source.target,
        bytes=source.bytes if exact is None else exact,
        licence=source.licence,
        own_files=own_files,
    )


def _judges(config: ProjectConfig) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*config.roster.teachers, *config.roster.students)))


def _imports_checkpoint(config: ProjectConfig, judge: str) -> bool:
    return judge in _judges(config) and config.judges[judge].backbone.source is None


def _undescribed_checkpoint(judge: str, raw: Path, own_files: str | None) -> Input:
    return Input(
        name=judge,
        what="judge's backbone",
        hub="huggingface_model",
        handle=None,
        how=f"a checkpoint for {judge}; or name one in judges.{judge}.backbone.source, or describe it in sources.yml",
        revision=None,
        files={},
        patterns=(),
        folder=raw / "checkpoints" / judge,
        bytes=None,
        licence=LicenceConfig(name="its own", url=""),
        own_files=own_files,
    )


def _list_models(known: Mapping[str, HubModelConfig], config: ProjectConfig, raw: Path, project: Path) -> list[Input]:
    """Hub names among the judges' backbones and the answer models, each once."""
    wanted: dict[str, list[_Use]] = {}

    def want(model: str, use: _Use) -> None:
        if _HUB_NAME.fullmatch(model) and not (project / model).exists():
            wanted.setdefault(model, []).append(use)

    for judge in _judges(config):
        backbone = config.judges[judge].backbone
        if backbone.source is not None:
            pin = f"judges.{judge}.backbone.revision"
            want(backbone.source, _Use(judge, f"backbone of {judge}", backbone.revision, pin))
    asked = {name for round_ in config.generation.rounds.values() for name in round_.answer_models}
    for name, model in config.generation.answer_models.items():
        if name in asked and model.is_local:
            pin = f"generation.answer_models.{name}.revision"
            want(model.model, _Use(name, f"answers as {name}", model.revision, pin, model.trust_remote_code))
    return [_as_model(name, uses, known.get(name), raw) for name, uses in wanted.items()]


def _as_model(name: str, uses: Sequence[_Use], known: HubModelConfig | None, raw: Path) -> Input:
    """Readers without a revision take the one that others pin."""
    pins = {use.pin: use.revision for use in uses if use.revision is not None}
    told = " and ".join(f"{pin}={revision}" for pin, revision in pins.items())
    page = LicenceConfig(name=_UNKNOWN_LICENCE, url=f"https://huggingface.co/{name}")
    return Input(
        name=name,
        what=", ".join(use.what for use in uses),
        hub="huggingface_model",
        handle=name,
        how="",
        revision=next(iter(pins.values()), None),
        files={},
        patterns=(*MODEL_FILES, CODE_FILES) if any(use.trusts_code for use in uses) else MODEL_FILES,
        folder=raw,
        bytes=known.bytes if known else None,
        licence=known.licence if known else page,
        aliases=tuple(use.name for use in uses),
        is_main=len(pins) < len(uses),
        conflict=f"{name} is wanted at two revisions: {told}; state one for all" if len(set(pins.values())) > 1 else "",
    )
