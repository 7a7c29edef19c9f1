"""What `kedro fetch` fetches, and from where: ``sources.yml``."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from wsdm_arena.config.base import StrictConfig

HubName = Literal["kaggle_competition", "kaggle_dataset", "huggingface_dataset", "huggingface_model"]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class LicenceConfig(StrictConfig):
    """The terms that an input comes under."""

    name: str
    """What it is called."""
    url: str
    """Where it can be read, and accepted."""
    accept: bool = False
    """Whether it has to be accepted with an account, whose token is then needed, before anything can be downloaded."""


class FilePin(StrictConfig):
    """What is known of one file beforehand; a download that differs is refused."""

    bytes: int | None = Field(default=None, ge=0)
    """Its size."""
    sha256: Sha256 | None = None
    """SHA-256 of its content, hexadecimal."""


class SourceConfig(StrictConfig):
    """One input in ``<data_root>/01_raw``."""

    what: str
    """In a few words."""
    hub: HubName
    """Whose client downloads it."""
    handle: str | None = None
    """Its name there; null: it is put into place by hand, and ``how`` says how."""
    how: str = ""
    """What to obtain, and from whom, where there is no handle."""
    revision: str | None = None
    """Commit (Hugging Face) or version number (a dataset of Kaggle); null: the newest when it is first fetched, which
    is then written down and kept to. A competition has none."""
    target: str = "."
    """Folder within ``01_raw`` that its files go to, without the folders that they are in at the hub."""
    files: dict[str, FilePin] = Field(default_factory=dict)
    """Files to download, by their names at the hub; empty: all of them, which Kaggle sends as one archive."""
    bytes: int | None = Field(default=None, ge=0)
    """Size of it all, about; null: unknown before it is fetched."""
    raw: str | None = None
    """Key under ``raw`` in ``globals.yml`` by which files of one's own stand in for it; nothing is fetched then."""
    judge: str | None = None
    """The judge whose backbone this is: it is fetched only if that judge takes part and names no other source."""
    licence: LicenceConfig
    """Its terms."""

    @field_validator("target", "files")
    @classmethod
    def _stays_within_its_folder(cls, value: str | dict[str, FilePin]) -> str | dict[str, FilePin]:
        for name in [value] if isinstance(value, str) else value:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name:
                raise ValueError(f"{name!r} does not stay within its folder")
        return value

    @model_validator(mode="after")
    def _can_be_obtained(self) -> "SourceConfig":
        if self.handle is None and not self.how:
            raise ValueError("without a handle, `how` must say what to obtain")
        parts = 1 if self.hub == "kaggle_competition" else 2
        if self.handle is not None and not re.fullmatch("/".join([r"[\w.-]+"] * parts), self.handle):
            raise ValueError(f"handle {self.handle!r} should be like {'name' if parts == 1 else 'owner/name'}")
        if self.hub == "kaggle_competition" and not self.files:
            raise ValueError("of a competition, files must be named")
        if self.hub == "huggingface_model":
            raise ValueError("models are those that the parameters name; `models` says what is known of them")
        names = [PurePosixPath(name).name for name in self.files]
        if len(set(names)) < len(names):
            raise ValueError("two files would have the same name")
        return self

    @model_validator(mode="after")
    def _revision_is_exact(self) -> "SourceConfig":
        if self.revision is None:
            return self
        if self.hub == "kaggle_competition":
            raise ValueError("a competition has no revision")
        digits = "0123456789" if self.hub == "kaggle_dataset" else "0123456789abcdef"
        is_whole = self.hub == "kaggle_dataset" or len(self.revision) == 40
        if not self.revision or not set(self.revision) <= set(digits) or not is_whole:
            kind = "a version number" if self.hub == "kaggle_dataset" else "a commit of 40 hexadecimal digits"
            raise ValueError(f"revision must be {kind}")
        return self


class HubModelConfig(StrictConfig):
    """What is known beforehand of a model that the parameters name."""

    bytes: int | None = Field(default=None, ge=0)
    """Size of its weights, about."""
    licence: LicenceConfig
    """Its terms."""


class SourcesConfig(StrictConfig):
    """The whole of ``sources.yml``."""

    simulated: bool = False
    """The environment's inputs are written by the simulated arena; nothing is fetched."""
    inputs: dict[str, SourceConfig] = Field(default_factory=dict)
    """What goes to ``<data_root>/01_raw``, by the name that `kedro fetch` takes."""
    models: dict[str, HubModelConfig] = Field(default_factory=dict)
    """Models by their names at Hugging Face. Which of them are fetched, and at what revision, say the parameters:
    ``judges.<judge>.backbone`` and ``generation.answer_models``."""
