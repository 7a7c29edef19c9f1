"""Terms that data and models come under, as ``sources.yml`` says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from wsdm_arena.cards.markdown import Markdown, link
from wsdm_arena.config import AnswerModelConfig, BackboneConfig, PackagedModelConfig, package_of
from wsdm_arena.config.fetching import LicenceConfig, SourcesConfig

_HUB_LICENCES: Mapping[str, str] = {
    "apache 2.0": "apache-2.0",
    "mit": "mit",
    "gemma": "gemma",
    "llama 2": "llama2",
    "llama 3": "llama3",
    "llama 3.1": "llama3.1",
    "llama 3.2": "llama3.2",
    "llama 3.3": "llama3.3",
}
"""Identifiers of the Hugging Face Hub by our names: https://huggingface.co/docs/hub/repositories-licenses."""
_HUB_PAGE = "https://huggingface.co/"
_PACKAGE_PAGE = "https://pypi.org/project/"
_PAGES: Mapping[str, str] = {
    "kaggle_competition": "https://www.kaggle.com/competitions/",
    "kaggle_dataset": "https://www.kaggle.com/datasets/",
    "huggingface_dataset": _HUB_PAGE + "datasets/",
}
_TABLES_OF_INPUTS: Mapping[str, tuple[str, ...]] = {
    "battles": ("train",),
    "test_pairs": ("test",),
    "collected_pairs": ("collected_pairs",),
    "collected_labels": ("collected_pairs",),
    "generated_pairs": ("conversations",),
    "generated_labels": ("conversations",),
}
"""Inputs of ``sources.yml`` that a table is made of."""
BACKBONE = "backbone"
ANSWERS = "answers of this model"
LABELS = "labels by a judge made from this model"


@dataclass(frozen=True)
class Source:
    """Something that came from outside, and its terms.

    Attributes:
        name: As a person knows it, such as ``lmsys/lmsys-chat-1m``.
        what: In a few words.
        licence: What the terms are called; empty if they are not known.
        licence_url: Where they can be read; empty if that is not known.
        page: Where it comes from; empty if that is not known.
        revision: Commit or version; empty if that is not known.
    """

    name: str
    what: str
    licence: str = ""
    licence_url: str = ""
    page: str = ""
    revision: str = ""

    @property
    def hub_licence(self) -> str | None:
        """The hub's identifier of the licence; ``other`` for one that it does not know, None for none."""
        plain = self.licence.partition(";")[0].strip().lower()
        return _HUB_LICENCES.get(plain, "other") if plain else None

    def shares_terms_with(self, other: "Source") -> bool:
        """Whether both are known to come under the same terms."""
        is_same_at_hub = self.hub_licence == other.hub_licence != "other"
        return bool(self.licence) and (self.licence == other.licence or is_same_at_hub)

    @property
    def terms(self) -> Markdown:
        """The licence as a link."""
        if not self.licence:
            return Markdown("not known to this run")
        return link(self.licence, self.licence_url)


def sources_of_table(table: str, sources: SourcesConfig | None) -> list[Source]:
    """List what came from outside of which a table was made, but for the models that wrote answers.

    Args:
        table: Its name in the catalog.
        sources: What is known of inputs; None if nothing.
    """
    if sources is None:
        return []
    return [_of_input(name, sources) for name in _TABLES_OF_INPUTS.get(table, ()) if name in sources.inputs]


def sources_of_answers(
    names: Iterable[str],
    answer_models: Mapping[str, AnswerModelConfig],
    packages: Mapping[str, PackagedModelConfig],
    sources: SourcesConfig | None,
) -> list[Source]:
    """List the models that wrote answers; the simulated arena's are nobody's and left out.

    Args:
        names: As the columns ``model_a`` and ``model_b`` show them.
        answer_models: What ``generation.answer_models`` says of them. One that is not there any more is listed without
            terms.
        packages: Models that come as Python packages, by name.
        sources: What is known of models at the Hugging Face Hub; None if nothing.

    Returns:
        By name. Directories are not named: they mean something on one machine only.
    """
    found = [_of_answer_model(name, answer_models.get(name), packages, sources) for name in sorted(set(names))]
    return [replace(source, what=ANSWERS) for source in found if source is not None]


def sources_of_labels(
    labellers: Mapping[str, BackboneConfig],
    packages: Mapping[str, PackagedModelConfig],
    sources: SourcesConfig | None,
) -> list[Source]:
    """List the models that judges were made from which labelled pairs.

    Args:
        labellers: Their backbones, by judge.
        packages: Models that come as Python packages, by name.
        sources: What is known of models and inputs; None if nothing.

    Returns:
        In this order, each model once; nothing for backbones of which nothing is known.
    """
    found = [source_of_backbone(judge, backbone, packages, sources) for judge, backbone in labellers.items()]
    return list(dict.fromkeys(replace(source, what=LABELS) for source in found if source is not None))


def hub_name(backbone: BackboneConfig | None) -> str | None:
    """Name of the backbone's repository; None where it is a directory of one's own or an input of the run."""
    source = backbone.source if backbone else None
    return source if source is not None and is_hub_name(source) else None


def source_of_package(package: PackagedModelConfig) -> Source:
    """Say where a backbone comes from that came as a Python package."""
    distribution, version = next(iter(package.distributions.items()))
    page = _PACKAGE_PAGE + distribution
    return Source(package.title, BACKBONE, package.licence.name, package.licence.url, page, version)


def is_hub_name(source: str) -> bool:
    """Whether a model's source names a repository of the Hugging Face Hub, not a directory, here or elsewhere."""
    if Path(source).expanduser().is_dir():
        return False
    try:
        validate_repo_id(source)
    except HFValidationError:  # a directory that is gone, or on another machine
        return False
    return True


def source_of_backbone(
    judge: str,
    backbone: BackboneConfig | None,
    packages: Mapping[str, PackagedModelConfig],
    sources: SourcesConfig | None,
) -> Source | None:
    """Say where a judge's backbone comes from.

    Args:
        judge: Whose.
        backbone: Without a source it is the input that ``sources`` describes for the judge; None: it is not known.
        packages: Models that come as Python packages, by name.
        sources: What is known of models and inputs; None if nothing.

    Returns:
        None if nothing is known of it, as of a directory of the user's own.
    """
    if backbone is None:
        return None
    if package := packages.get(package_of(backbone.source) or ""):
        return source_of_package(package)
    if (name := hub_name(backbone)) is not None:
        return _of_hub_model(name, backbone.revision, sources)
    if backbone.source is not None or sources is None:
        return None
    matching = [key for key, source in sources.inputs.items() if source.judge == judge]
    return _of_input(matching[0], sources) if matching else None


def _of_answer_model(
    name: str,
    model: AnswerModelConfig | None,
    packages: Mapping[str, PackagedModelConfig],
    sources: SourcesConfig | None,
) -> Source | None:
    if model is None:
        return Source(name, ANSWERS)
    if model.engine == "simulator":
        return None
    if package := packages.get(package_of(model.model) or ""):
        return source_of_package(package)
    is_known = sources is not None and model.model in sources.models  # an endpoint's names are often the hub's
    if is_known or (model.engine != "openai" and is_hub_name(model.model)):
        return _of_hub_model(model.model, model.revision, sources)
    return Source(name, ANSWERS)


def _of_hub_model(name: str, revision: str | None, sources: SourcesConfig | None) -> Source:
    known = sources.models.get(name) if sources else None
    licence = known.licence if known else LicenceConfig(name="", url="")
    return Source(name, BACKBONE, licence.name, licence.url, _HUB_PAGE + name, revision or "")


def _of_input(name: str, sources: SourcesConfig) -> Source:
    source = sources.inputs[name]
    page = _PAGES[source.hub] + source.handle if source.handle and source.hub in _PAGES else ""
    return Source(
        source.handle or name,
        source.what,
        source.licence.name,
        source.licence.url,
        page,
        source.revision or "",
    )
