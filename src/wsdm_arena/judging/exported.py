"""Exported judges ready to be asked: opened, checked against one another, with names and weights."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from wsdm_arena.columns import ORDERS
from wsdm_arena.config.judges import AttentionName
from wsdm_arena.errors import UserError
from wsdm_arena.judging.bundle import Bundle, BundleError
from wsdm_arena.judging.bundle_places import newest_version
from wsdm_arena.judging.reading import open_judge
from wsdm_arena.modeling.devices import choose_devices, choose_dtype
from wsdm_arena.modeling.layer_split import SplitJudge
from wsdm_arena.prompts.battles import BattleTokenizer
from wsdm_arena.prompts.pairs import BattleTexts
from wsdm_arena.prompts.tokenizers import PromptError, load_tokenizer
from wsdm_arena.scoring.cascade import resolve_threshold
from wsdm_arena.scoring.predictor import TokenizedPairs


class JudgeError(UserError, ValueError):
    """Judges that cannot be asked together, or an option that does not fit them."""


@dataclass(frozen=True)
class Placement:
    """Where and how judges run.

    Attributes:
        devices: Names as :func:`~wsdm_arena.modeling.devices.choose_devices` takes them; over several of them a
            judge's layers are split.
        dtype: Of weights and activations; ``auto``: what suits the devices, float32 without a GPU.
        attention: Kernel for packed sequences.
        max_tokens_per_batch: Packed tokens of a micro-batch; a longer single sequence gets one of its own.
    """

    devices: tuple[str, ...] = ("auto",)
    dtype: str = "auto"
    attention: AttentionName = "auto"
    max_tokens_per_batch: int = 8_192

    @property
    def chosen_devices(self) -> tuple[torch.device, ...]:
        """The devices on this machine.

        Raises:
            DeviceError: It lacks one of them.
        """
        return choose_devices(self.devices)

    @property
    def chosen_dtype(self) -> torch.dtype:
        """The type on these devices."""
        return choose_dtype(self.dtype, *self.chosen_devices)


@dataclass(frozen=True)
class ExportedJudge:
    """An opened bundle with its tokenizer; weights are not read yet.

    Attributes:
        name: Unlike that of any other judge beside it.
        bundle: The bundle.
        tokenizer: Makes the judge's tokens of a pair's texts.
    """

    name: str
    bundle: Bundle
    tokenizer: BattleTokenizer

    @property
    def num_classes(self) -> int:
        """2, or 3 where the judge knows ties."""
        return int(self.bundle.manifest["num_classes"])

    def tokenize(self, pair_ids: Sequence[str], texts: Iterable[BattleTexts]) -> TokenizedPairs:
        """Tokenize pairs as this judge was trained to read them; tokens stay in memory."""
        return TokenizedPairs.from_texts(pair_ids, texts, self.tokenizer)

    @contextmanager
    def open(self, placement: Placement) -> Iterator[SplitJudge]:
        """Load the judge, and free its memory at the end."""
        devices, dtype = placement.chosen_devices, placement.chosen_dtype
        with open_judge(lambda: self.bundle.load_judge(attention=placement.attention, dtype=dtype), devices) as reader:
            yield reader


def open_bundles(paths: Sequence[str | Path], *, verify_checksums: bool | None = None) -> tuple[ExportedJudge, ...]:
    """Open bundles and make sure that they can be asked together.

    A judge is called as its bundle's provenance names it; where two have the same name, with its stage before it; where
    that is the same too, with a number behind it.

    Args:
        paths: Directories of bundles.
        verify_checksums: Read every file and compare; by default if a bundle is small.

    Raises:
        BundleError: A bundle is half written, damaged, of another version, or its tokenizer and prompt are not those
            that the judge was trained with.
        JudgeError: There is no bundle, or judges tell different classes apart.
    """
    if not paths:
        raise JudgeError("name a bundle: the directory that an export wrote")
    bundles = [Bundle.open(path, verify_checksums=verify_checksums) for path in paths]
    classes = {str(bundle.path): int(bundle.manifest["num_classes"]) for bundle in bundles}
    if len(set(classes.values())) > 1:
        told = ", ".join(f"{path} tells {number} classes apart" for path, number in classes.items())
        raise JudgeError(f"judges that know ties cannot be mixed with judges that do not: {told}")
    names = _names(bundles)
    return tuple(ExportedJudge(name, bundle, _tokenizer(bundle)) for name, bundle in zip(names, bundles, strict=True))


def resolve_weights(
    judges: Sequence[ExportedJudge], weights: Mapping[str, float] | Sequence[float] | None
) -> dict[str, float]:
    """Give every judge its weight.

    Args:
        judges: As :func:`open_bundles` gives them.
        weights: One a judge, in their order; or by a judge's name or the bundle's path, 1 for those that are not named.
            None: all the same.

    Raises:
        JudgeError: A name is nobody's, there are too many or too few weights, or one is not a positive number.
    """
    names = [judge.name for judge in judges]
    given: Mapping[str, float]
    if isinstance(weights, Mapping):
        names_of_paths = {judge.bundle.path.resolve(): judge.name for judge in judges}
        given = {_name_of(key, names, names_of_paths): weight for key, weight in weights.items()}
        if unknown := sorted(set(given) - set(names)):
            raise JudgeError(f"weights name {unknown}, but the judges are {names}")
    elif weights is None:
        given = {}
    elif len(weights) != len(names):
        given_weights = f"{len(weights)} weight{'s' * (len(weights) != 1)}"
        raise JudgeError(
            f"{given_weights} for {len(names)} judge{'s' * (len(names) != 1)}; give one for each bundle, in their order"
        )
    else:
        given = dict(zip(names, weights, strict=True))
    resolved = {name: float(given.get(name, 1.0)) for name in names}
    for name, weight in resolved.items():
        if not 0 < weight < float("inf"):
            raise JudgeError(f"the weight of {name} is {weight}; it must be a number above 0")
    return resolved


def check_options(
    judges: Sequence[ExportedJudge],
    weights: Mapping[str, float],
    *,
    cascade: bool,
    threshold: float | None,
    orders: Sequence[str],
) -> None:
    """Make sure that judges and options go together, before weights are read.

    Raises:
        JudgeError: They do not; the message says why.
        CascadeError: The threshold is out of range.
    """
    if not orders or set(orders) - set(ORDERS) or len(set(orders)) != len(orders) or isinstance(orders, str):
        raise JudgeError(f"orders={orders!r}: must be ('ab',), ('ba',) or ('ab', 'ba')")
    if not cascade:
        if threshold is not None:
            raise JudgeError(
                f"threshold={threshold}: only a cascade has a threshold; ask for a cascade, too, or leave it out"
            )
        return
    mistakes = []
    if len(judges) != 2:
        mistakes.append(f"a cascade needs two bundles, the quicker or weightier judge first; got {len(judges)}")
    if tuple(orders) != ORDERS:
        mistakes.append(f"orders={','.join(orders)}: a cascade's first judge reads 'ab', its second 'ba'; leave it out")
    if mistakes:
        raise JudgeError("; ".join(mistakes))
    resolve_threshold((weights[judges[0].name], weights[judges[1].name]), threshold)


def _name_of(key: str | Path, names: Sequence[str], names_of_paths: Mapping[Path, str]) -> str:
    """Of a judge's name, or of a path to its bundle however written, the name; of anything else what was given."""
    return str(key) if str(key) in names else names_of_paths.get(newest_version(Path(key)).resolve(), str(key))


def _names(bundles: Sequence[Bundle]) -> list[str]:
    short = [str(bundle.provenance.get("judge") or bundle.path.resolve().name) for bundle in bundles]
    long = [f"{bundle.provenance.get('stage', '')}.{name}" for bundle, name in zip(bundles, short, strict=True)]
    counts = Counter(short)
    names = [s if counts[s] == 1 else full for s, full in zip(short, long, strict=True)]
    repeated = Counter(names)
    return [
        name if repeated[name] == 1 else f"{name}.{names[: position + 1].count(name)}"
        for position, name in enumerate(names)
    ]


def _tokenizer(bundle: Bundle) -> BattleTokenizer:
    """The tokenizer with the bundle's own prompt, if that is what the judge was trained with."""
    prompt, trained = bundle.prompt, bundle.manifest.get("template_hash")
    try:
        tokenizer = BattleTokenizer(
            load_tokenizer(bundle.tokenizer_dir),
            prompt.template,
            system_role=prompt.system_role,
            truncation=prompt.truncation,
            policy=prompt.policy,
        )
    except PromptError as error:
        raise BundleError(f"{bundle.path}: {error}") from error
    if trained is None:
        raise BundleError(
            f"{bundle.path}: its manifest does not say with which prompt the judge was trained (template_hash); export "
            "a judge that a training of this project has made"
        )
    if tokenizer.template.hash != trained:
        raise BundleError(
            f"{bundle.path}: tokenizer and prompt.json make another prompt ({tokenizer.template.hash}) than the judge "
            f"was trained with ({trained}); export it again"
        )
    return tokenizer
