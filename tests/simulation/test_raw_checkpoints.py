import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from wsdm_arena.simulation.backbones import BACKBONES
from wsdm_arena.simulation.raw_checkpoints import MARKER_NAME, RawCheckpointError, write_raw_checkpoints


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "checkpoints"
    write_raw_checkpoints(root)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("judge", ["gemma", "llama"])
def test_weights_are_the_backbone_s_in_the_inference_layout(written: Path, judge: str) -> None:
    plain = load_file(BACKBONES / judge / "model.safetensors")
    fused = load_file(written / judge / "model.safetensors")
    assert {tensor.dtype for tensor in fused.values()} == {torch.float16}
    for layer in range(3):
        mlp = f"layers.{layer}.mlp"
        both = fused[f"model.{mlp}.gate_up_proj.weight"]
        assert torch.equal(both, torch.cat([plain[f"{mlp}.gate_proj.weight"], plain[f"{mlp}.up_proj.weight"]]))
    others = [key for key in plain if "gate_proj" not in key and "up_proj" not in key]
    assert all(torch.equal(fused[f"model.{key}"], plain[key]) for key in others)
    head = {key: tuple(value.shape) for key, value in fused.items() if not key.startswith("model.")}
    assert head == {
        "score.1.weight": (64, 128),
        "score.1.bias": (64,),
        "score.4.weight": (3, 64),
        "score.4.bias": (3,),
    }
    assert len(fused) == len(others) + 3 + len(head)
    assert fused["score.4.weight"].unique().numel() > 100


@pytest.mark.parametrize("judge", ["gemma", "llama"])
def test_configuration_and_tokenizer_come_along(written: Path, judge: str) -> None:
    ours, theirs = (json.loads((root / judge / "config.json").read_text()) for root in (written, BACKBONES))
    assert ours["dtype"] == "float16"
    assert {key: ours[key] for key in theirs if key != "architectures" and key in ours} == {
        key: theirs[key] for key in theirs if key != "architectures" and key in ours
    }
    assert len(ours) > 15
    text = "Which is larger, 3 or 5?"
    tokenizers = [AutoTokenizer.from_pretrained(root / judge) for root in (written, BACKBONES)]
    assert tokenizers[0](text)["input_ids"] == tokenizers[1](text)["input_ids"]


def test_the_same_bytes_again_over_its_own(written: Path, tmp_path: Path) -> None:
    write_raw_checkpoints(tmp_path)
    assert contents(tmp_path) == contents(written)
    write_raw_checkpoints(tmp_path)
    assert contents(tmp_path) == contents(written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gemma", "llama"]


def test_one_judge_alone(written: Path, tmp_path: Path) -> None:
    write_raw_checkpoints(tmp_path, judges=["llama"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama"]


def _be_someone_elses(directory: Path) -> None:
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(b"nine billion parameters")


def _be_changed(directory: Path) -> None:
    write_raw_checkpoints(directory.parent, judges=[directory.name])
    (directory / "config.json").write_text("{}")


def _have_more(directory: Path) -> None:
    write_raw_checkpoints(directory.parent, judges=[directory.name])
    (directory / "notes").mkdir()


def _have_a_damaged_marker(directory: Path) -> None:
    write_raw_checkpoints(directory.parent, judges=[directory.name])
    (directory / MARKER_NAME).write_text("[]")


def _be_a_link(directory: Path) -> None:
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    directory.symlink_to(elsewhere)


def _be_a_file(directory: Path) -> None:
    directory.write_text("a note")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_be_someone_elses, "holds model.safetensors"),
        (_be_changed, "holds config.json"),
        (_have_more, "holds notes"),
        (_have_a_damaged_marker, "holds chat_template.jinja"),
        (_be_a_link, "is a link"),
        (_be_a_file, "is a file"),
    ],
)
def test_nothing_of_anyone_else_is_replaced(tmp_path: Path, prepare, message: str) -> None:
    prepare(tmp_path / "llama")
    before = contents(tmp_path)
    with pytest.raises(RawCheckpointError, match=f"llama {message}.*nothing was changed"):
        write_raw_checkpoints(tmp_path)
    assert contents(tmp_path) == before
    assert not (tmp_path / "gemma").exists()


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "gemma").mkdir()
    write_raw_checkpoints(tmp_path, judges=["gemma"])
    assert (tmp_path / "gemma" / MARKER_NAME).is_file()


def test_a_judge_without_a_backbone_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RawCheckpointError, match="no tiny backbone for gemma_large; there is gemma, llama"):
        write_raw_checkpoints(tmp_path / "new", judges=["gemma", "gemma_large"])
    assert not (tmp_path / "new").exists()
