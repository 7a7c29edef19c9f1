"""Language models that come as Python packages."""

from typing import Annotated

from pydantic import Field, model_validator

from wsdm_arena.config.base import WITHOUT_EFFECT, StrictConfig
from wsdm_arena.config.fetching import LicenceConfig

PACKAGE_SCHEME = "package:"
"""``package:<name>`` stands where a directory or a hub name could, and means ``packaged_models.<name>``."""


class PackagedModelConfig(StrictConfig):
    """A GGUF file, or parts of one, inside of installed Python packages.

    It is dequantised once, into a directory that transformers and vLLM read.
    """

    distributions: dict[str, str] = Field(min_length=1)
    """Versions by name, as ``pip install`` takes them."""
    files: tuple[str, ...] = Field(min_length=1)
    """The GGUF file, or its parts in order; paths start from where packages are installed."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the whole GGUF file."""
    model_type: str
    """Architecture, as transformers calls it."""
    chat_template: str | None = None
    """Jinja text; null: the file's own. A base model has none, and judges and answers need one."""
    end_of_turn: str | None = None
    """Token at which an answer ends, besides the file's own; null: none."""
    title: Annotated[str, WITHOUT_EFFECT]
    """As people call the model."""
    licence: Annotated[LicenceConfig, WITHOUT_EFFECT]
    """Terms of the weights."""

    @model_validator(mode="after")
    def _files_are_inside(self) -> "PackagedModelConfig":
        for file in self.files:
            if file.startswith(("/", "~")) or ".." in file.split("/"):
                raise ValueError(f"files: {file!r} must be a path below the folder that packages are installed in")
        return self


def package_of(source: str | None) -> str | None:
    """Name the packaged model that a source stands for; None if it stands for something else.

    Example:
        >>> package_of("package:smollm2_135m")
        'smollm2_135m'
    """
    if source is None or not source.startswith(PACKAGE_SCHEME):
        return None
    return source.removeprefix(PACKAGE_SCHEME)
