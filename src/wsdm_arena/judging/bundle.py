"""A bundle: one judge with all that is needed to use it, in one directory that can be moved and shared.

Layout of a bundle::

    config.json, model.safetensors, tokenizer.json, ...    with "plain": a model directory of transformers
    head.safetensors         with "plain": the head, unless it is ``score.weight`` among the weights
    fused/                   with "fused": the inference layout, float16, head and tokenizer included
    prompt.json              template, system role, truncation: how battles become text
    calibration.json         the temperature, and how it was found
    provenance.json          what the judge was made of
    README.md                the model card, if there is one
    manifest.json            written last; names every file but the card with its size and SHA-256
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from wsdm_arena.config import HeadConfig, StrictConfig, TemplateConfig, TruncationConfig, TruncationPolicy
from wsdm_arena.config.export import Layout
from wsdm_arena.config.judges import AttentionName
from wsdm_arena.judging.bundle_places import BundleError, newest_version
from wsdm_arena.judging.hugging_face import write_model_directory
from wsdm_arena.modeling.attention import UnsupportedJudgeError
from wsdm_arena.modeling.backbone import as_dtype
from wsdm_arena.modeling.backbone_weights import LayoutError
from wsdm_arena.modeling.checkpoint import (
    BUNDLE_KIND,
    HEAD,
    CheckpointError,
    check_fields,
    load_judge,
    verify_files,
)
from wsdm_arena.modeling.checkpoint import read_manifest as read_checkpoint_manifest
from wsdm_arena.modeling.head import Head
from wsdm_arena.modeling.inference_layout import load_fused_checkpoint, write_fused_files
from wsdm_arena.modeling.judge import JudgeModel
from wsdm_arena.modeling.manifest import ManifestError, read_manifest, write_manifest
from wsdm_arena.modeling.weight_files import WeightFileError
from wsdm_arena.prompts.tokenizers import PromptError
from wsdm_arena.runs.directories import replacing_directory
from wsdm_arena.runs.files import CARD, replacing_file
from wsdm_arena.runs.fingerprint import DirectoryChangedError, manifest_digest
from wsdm_arena.runs.formats import BUNDLE_FORMAT

PROMPT, CALIBRATION, PROVENANCE = "prompt.json", "calibration.json", "provenance.json"
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
FUSED = "fused"
FUSED_DTYPE = torch.float16
"""What the inference layout is stored in, whatever the checkpoint's type."""


class BundlePrompt(StrictConfig):
    """How battles become text for this judge."""

    template: TemplateConfig
    """Wording of the judging prompt."""
    system_role: bool
    """Whether the chat template takes a system message."""
    truncation: TruncationConfig
    """Limits of a battle's length."""
    policy: TruncationPolicy
    """Which of the limits hold."""


def write_bundle(
    directory: Path,
    *,
    checkpoint: Path,
    prompt: BundlePrompt,
    layouts: Sequence[Layout],
    temperature: float,
    calibration: Mapping[str, Any],
    provenance: Mapping[str, Any],
    card: str | None = None,
) -> Path:
    """Make a bundle of a judge's checkpoint.

    The plain layout is one that transformers reads: by ``AutoModelForSequenceClassification`` if the head is linear and
    the family has such a class, else by ``AutoModel``, the head lying beside it.

    Args:
        directory: Replaced as a whole if it exists.
        checkpoint: As :func:`~wsdm_arena.modeling.checkpoint.save_judge` wrote it. Its weights are hard-linked into the
            plain layout where the file system can, unless a sequence classifier has other names for them: these are
            written anew.
        prompt: How battles become text.
        layouts: ``plain``, ``fused`` or both.
        temperature: Who wants calibrated probabilities divides logits by it; the cascade does not.
        calibration: How the temperature was found, as JSON.
        provenance: What the judge was made of, as JSON.
        card: The model card, Markdown.

    Returns:
        ``directory``.

    Raises:
        BundleError: The checkpoint is damaged or has no inference layout, or an argument cannot be written.
    """
    if not layouts or not set(layouts) <= set(LAYOUTS):
        raise BundleError(f"{directory}: a bundle needs a layout or both of {list(LAYOUTS)}, not {list(layouts)}")
    if not 0 < temperature < float("inf"):
        raise BundleError(f"{directory}: a bundle needs a temperature above 0, not {temperature}")
    try:
        manifest = read_checkpoint_manifest(checkpoint)
        if manifest["kind"] == BUNDLE_KIND:
            raise BundleError(f"{checkpoint} is a bundle already; name the checkpoint that it was made of")
        verify_files(checkpoint, manifest)
        with replacing_directory(directory) as unfinished:
            described: dict[str, Mapping[str, Any]] = {}
            if "plain" in layouts:
                described = write_model_directory(
                    checkpoint, unfinished, manifest, template=prompt.template, system_role=prompt.system_role
                )
            if "fused" in layouts:
                (unfinished / FUSED).mkdir()
                write_fused_files(checkpoint, unfinished / FUSED, dtype=FUSED_DTYPE, head=load_file(checkpoint / HEAD))
            _write_json(unfinished / PROMPT, prompt.model_dump(mode="json"))
            _write_json(unfinished / CALIBRATION, {"temperature": temperature, "fit": dict(calibration)})
            _write_json(unfinished / PROVENANCE, provenance)
            if card is not None:
                write_card(unfinished, card)
            own = {"kind": BUNDLE_KIND, "format": BUNDLE_FORMAT, "layouts": sorted(set(layouts))}
            if "plain" not in layouts:
                own["dtype"] = str(FUSED_DTYPE).removeprefix("torch.")
            inherited = {key: value for key, value in manifest.items() if key != "files"}
            write_manifest(unfinished, inherited | own, described=described)
    except (CheckpointError, LayoutError, PromptError, WeightFileError) as error:
        raise BundleError(f"no bundle can be made of {checkpoint}: {error}") from error
    return directory


def write_card(directory: Path, card: str) -> None:
    """Give a bundle another model card; it stays the same bundle, as a card is for people only."""
    with replacing_file(directory / CARD) as partial:
        partial.write_text(card, encoding="utf-8")


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; weights are read by :meth:`load_judge` only.

    Attributes:
        path: Its directory.
        manifest: As the bundle states it.
        prompt: How battles become text.
        temperature: Who wants calibrated probabilities divides logits by it; the cascade does not.
        calibration: How the temperature was found.
        provenance: What the judge was made of.
        fingerprint: Names the contents; the same bundle elsewhere has the same.
    """

    path: Path
    manifest: Mapping[str, Any]
    prompt: BundlePrompt
    temperature: float
    calibration: Mapping[str, Any]
    provenance: Mapping[str, Any]
    fingerprint: str

    @classmethod
    def open(cls, path: str | Path, *, verify_checksums: bool | None = None) -> "Bundle":
        """Make sure that a bundle is whole, and read all but its weights. Nothing is fetched from anywhere.

        Args:
            path: Its directory; or the folder of a catalog entry, such as ``06_models/final/gemma/bundle``, whose
                newest version is opened.
            verify_checksums: Read every file and compare; by default if the bundle is small.

        Raises:
            BundleError: It is half written, damaged or something else; the message names the file.
        """
        path = newest_version(Path(path))
        try:
            manifest = read_manifest(
                path, formats={BUNDLE_KIND: BUNDLE_FORMAT}, what="bundle", cure="export it again or name another"
            )
            check_fields(path, manifest)
            fingerprint = manifest_digest(path)
            verify_files(path, manifest, checksums=verify_checksums)
        except (ManifestError, DirectoryChangedError, CheckpointError) as error:
            raise BundleError(str(error)) from error
        calibration = _read_json(path, CALIBRATION)
        try:
            prompt = BundlePrompt.model_validate(_read_json(path, PROMPT))
            temperature, fit = float(calibration["temperature"]), dict(calibration["fit"])
            if not 0 < temperature < float("inf"):
                raise ValueError(f"temperature {temperature} is not above 0")
        except (ValidationError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path} is no bundle that this version can use: {error!r}") from error
        return cls(path, manifest, prompt, temperature, fit, _read_json(path, PROVENANCE), fingerprint)

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """What the bundle holds of ``plain`` and ``fused``."""
        return tuple(self.manifest["layouts"])

    @property
    def tokenizer_dir(self) -> Path:
        """Where the tokenizer's files lie."""
        return self.path if "plain" in self.layouts else self.path / FUSED

    def load_judge(
        self,
        *,
        attention: AttentionName = "auto",
        dtype: str | torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> JudgeModel:
        """Load the judge, in evaluation mode.

        Of two layouts the plain one is read, unless only the fused one holds what is asked for, float16: it need not be
        cast, so it is mapped and not copied into memory.

        Args:
            attention: Which kernel attends.
            dtype: Of the weights in memory; as stored by default.
            device: Where they go; the CPU by default.

        Raises:
            BundleError: The weights cannot be read, are not those of the configuration, or too large for ``dtype``.
        """
        wanted = as_dtype(dtype or self.manifest["dtype"])
        try:
            if self._prefers_fused(wanted):
                judge = self._load_fused(attention, wanted)
            else:
                judge = load_judge(self.path, attention=attention, dtype=wanted, verify_checksums=False)
        except (CheckpointError, LayoutError, WeightFileError, UnsupportedJudgeError) as error:
            raise BundleError(f"{self.path}: {error}") from error
        return judge.to(device).eval() if device is not None else judge.eval()

    def _prefers_fused(self, wanted: torch.dtype) -> bool:
        if "plain" not in self.layouts:
            return True
        return "fused" in self.layouts and wanted == FUSED_DTYPE != as_dtype(self.manifest["dtype"])

    def _load_fused(self, attention: AttentionName, dtype: torch.dtype) -> JudgeModel:
        sliding_window: bool = self.manifest["sliding_window"]
        backbone, weights = load_fused_checkpoint(self.path / FUSED, sliding_window=sliding_window, dtype=dtype)
        head = Head(
            HeadConfig(**self.manifest["head"]), backbone.config.hidden_size, self.manifest["num_classes"], seed=0
        )
        try:
            head.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            raise LayoutError(f"{self.path / FUSED}: {error}") from error
        return JudgeModel(backbone, head.to(dtype), attention=attention, sliding_window=sliding_window)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path.name} takes JSON values only: {error}") from error


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path / name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path / name} holds a {type(content).__name__}, not a mapping")
    return content
