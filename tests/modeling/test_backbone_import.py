"""Any source becomes one plain directory; whatever is wrong with it is said before anything is left behind."""

import json
import multiprocessing
import os
import pickle
import shutil
from pathlib import Path

import huggingface_hub.errors as hub_errors
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import BackboneConfig, HeadConfig
from wsdm_arena.modeling import backbone_import, backbone_source, weight_files
from wsdm_arena.modeling.backbone import load_backbone, load_config
from wsdm_arena.modeling.backbone_import import BackboneError, import_backbone, read_backbone_manifest
from wsdm_arena.modeling.checkpoint import save_judge
from wsdm_arena.modeling.head import Head
from wsdm_arena.modeling.inference_layout import write_fused_checkpoint
from wsdm_arena.modeling.judge import JudgeModel
from wsdm_arena.modeling.weight_files import find_weight_files, open_weights
from wsdm_arena.runs.files import describe_file
from wsdm_arena.runs.fingerprint import manifest_digest
from wsdm_arena.simulation.backbones import BACKBONES

HEAD = {"output.weight": torch.ones(3, 128)}
FUSED = BackboneConfig(layout="fused", old_head=("score.",))
PLAIN = BackboneConfig()


@pytest.fixture(params=["gemma", "llama"])
def family(request) -> str:
    return request.param


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "backbones"


def plain_source(family: str, target: Path) -> Path:
    return Path(shutil.copytree(BACKBONES / family, target))


def fused_source(family: str, target: Path) -> Path:
    return write_fused_checkpoint(BACKBONES / family, target, head=HEAD)


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in open_weights(find_weight_files(directory)).items()}


def rewrite(source: Path, change) -> None:
    """Change the weights of a source of one file."""
    weights = load_file(source / "model.safetensors")
    change(weights)
    save_file(weights, source / "model.safetensors")


def overwrite_end(path: Path) -> None:
    """Change the last number in place: the file stays the same."""
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x12\x34")


def assert_same(first, second) -> None:
    assert set(first) == set(second)
    for key in first:
        assert first[key].dtype == second[key].dtype, key
        assert torch.equal(first[key], second[key]), key


def shard(source: Path) -> None:
    """Put the weights of one file into three and an index."""
    weights = load_file(source / "model.safetensors")
    index = {key: f"model-{number % 3}.safetensors" for number, key in enumerate(sorted(weights))}
    for name in set(index.values()):
        save_file({key: weights[key] for key in weights if index[key] == name}, source / name)
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (source / "model.safetensors").unlink()


def pickle_weights(source: Path) -> None:
    torch.save(load_file(source / "model.safetensors"), source / "model.pth")
    (source / "model.safetensors").unlink()


@pytest.mark.parametrize("store", [None, shard, pickle_weights])
def test_import_then_export_gives_back_the_same_bits(family, store, tmp_path, root):
    source = fused_source(family, tmp_path / "source")
    original = weights_of(source)
    if store is not None:
        store(source)
    imported = import_backbone(source, backbone=FUSED, root=root)
    exported = write_fused_checkpoint(imported, tmp_path / "exported", head=HEAD)
    assert_same(weights_of(exported), original)
    assert_same(weights_of(imported), weights_of(BACKBONES / family))


def test_the_imported_backbone_says_what_it_is(tmp_path, root):
    source = fused_source("gemma", tmp_path / "source")
    steps: list[tuple[int, int]] = []
    path = import_backbone(source, backbone=FUSED, root=root, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(number, 35) for number in range(1, 36)]
    assert path.parent == root
    manifest = read_backbone_manifest(path)
    described = manifest.pop("files")
    assert set(described) == {file.name for file in path.iterdir()} - {"manifest.json"}
    assert described["model.safetensors"]["size"] == (path / "model.safetensors").stat().st_size
    assert set(manifest.pop("source_files")) == {file.name for file in source.iterdir()}
    assert manifest == {
        "kind": "wsdm_arena backbone",
        "format": 3,
        "model_type": "gemma2",
        "source": str(source),
        "revision": None,
        "layout": "fused",
        "dtype": "float16",
        "old_head": ["score.weight"],
        "ignored": [],
    }
    assert len(manifest_digest(path)) == 16
    config = json.loads((path / "config.json").read_text())
    assert (config["architectures"], config["dtype"]) == (["Gemma2Model"], "float16")


def test_an_imported_judge_reads_as_transformers_reads_the_original_weights(family, tmp_path, root):
    """Packed and through our attention, against each sequence alone through transformers' eager one."""
    path = import_backbone(fused_source(family, tmp_path / "source"), backbone=FUSED, root=root)
    config = load_config(path, sliding_window=True)
    judge = JudgeModel(load_backbone(path, config, dtype=torch.float32), Head(HeadConfig(), 128, 2, seed=0)).eval()
    reference = AutoModel.from_config(
        AutoConfig.from_pretrained(BACKBONES / family), attn_implementation="eager", dtype="float32"
    )
    reference.load_state_dict({key: value.float() for key, value in weights_of(BACKBONES / family).items()})
    reference.eval()
    generator = np.random.default_rng(0)
    sequences = [generator.integers(10, 2048, length) for length in (7, 150, 64, 1)]  # the window is 64
    with torch.no_grad():
        ours = judge.hidden_states(PackedBatch.from_sequences(sequences))
        theirs = [reference(torch.from_numpy(s)[None], use_cache=False).last_hidden_state[0] for s in sequences]
    torch.testing.assert_close(ours, torch.cat(theirs), rtol=1e-4, atol=1e-4)


def test_somebody_s_files_are_copied_so_that_writing_to_them_changes_no_import(family, tmp_path, root):
    source = plain_source(family, tmp_path / "source")
    path = import_backbone(source, backbone=PLAIN, root=root)
    imported = weights_of(path)
    assert {file.stat().st_nlink for file in path.iterdir()} == {1}
    overwrite_end(source / "model.safetensors")
    assert_same(weights_of(path), imported)
    assert import_backbone(source, backbone=PLAIN, root=root) != path
    assert {file.name for file in path.iterdir()} == {file.name for file in source.iterdir()} | {"manifest.json"}
    load_backbone(path, load_config(path, sliding_window=True), dtype=torch.float16)


def test_of_directories_that_we_wrote_weights_are_linked_and_the_rest_copied(make, tmp_path, root):
    judge = save_judge(make.judge("llama"), tmp_path / "judge", tokenizer_dir=BACKBONES / "llama")
    path = import_backbone(judge, backbone=PLAIN, root=root)
    assert (path / "model.safetensors").samefile(judge / "model.safetensors")
    assert not (path / "config.json").samefile(judge / "config.json")
    again = import_backbone(path, backbone=PLAIN, root=tmp_path / "other")
    assert (again / "model.safetensors").samefile(judge / "model.safetensors")
    manifest = json.loads((judge / "manifest.json").read_text())
    manifest["files"]["model.safetensors"]["sha256"] = "0" * 64  # it does not vouch for what is there
    (judge / "manifest.json").write_text(json.dumps(manifest))
    copied = import_backbone(judge, backbone=PLAIN, root=tmp_path / "third")
    assert not (copied / "model.safetensors").samefile(judge / "model.safetensors")


def test_a_source_that_changes_while_it_is_imported_is_refused(tmp_path, root, monkeypatch):
    source = plain_source("llama", tmp_path / "source")
    copyfile = shutil.copyfile

    def touch(*arguments):
        (source / "model.safetensors").touch()
        return copyfile(*arguments)

    monkeypatch.setattr(backbone_import.shutil, "copyfile", touch)
    with pytest.raises(BackboneError, match=r"model\.safetensors was changed while it was imported"):
        import_backbone(source, backbone=PLAIN, root=root)
    assert [entry.name for entry in root.iterdir()] == [".lock"]


def test_where_links_are_impossible_files_are_copied(make, tmp_path, root, monkeypatch):
    source = save_judge(make.judge("llama"), tmp_path / "judge", tokenizer_dir=BACKBONES / "llama")
    linked = import_backbone(source, backbone=PLAIN, root=root)

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copied = import_backbone(source, backbone=PLAIN, root=tmp_path / "other")
    assert not (copied / "model.safetensors").samefile(source / "model.safetensors")
    assert manifest_digest(copied) == manifest_digest(linked)


@pytest.mark.parametrize("store", [shard, pickle_weights])
def test_plain_shards_and_pickles_become_what_transformers_reads(store, tmp_path, root):
    source = plain_source("gemma", tmp_path / "source")
    store(source)
    path = import_backbone(source, backbone=PLAIN, root=root)
    assert_same(weights_of(path), weights_of(BACKBONES / "gemma"))
    assert not list(path.glob("*.pth"))
    load_backbone(path, load_config(path, sliding_window=True), dtype=torch.float16)


def test_a_plain_old_head_is_left_behind_and_an_output_layer_ignored(tmp_path, root):
    source = plain_source("llama", tmp_path / "source")
    extra = {"score.weight": torch.ones(3, 128), "lm_head.weight": torch.ones(2048, 128)}
    rewrite(source, lambda weights: weights.update(extra))
    with pytest.raises(BackboneError, match=r"score\.weight \(3, 128\) is unexpected; name .*backbone\.old_head"):
        import_backbone(source, backbone=PLAIN, root=root)
    path = import_backbone(source, backbone=BackboneConfig(old_head=("score.",)), root=root)
    manifest = read_backbone_manifest(path)
    assert (manifest["old_head"], manifest["ignored"]) == (["score.weight"], ["lm_head.weight"])
    assert_same(weights_of(path), weights_of(BACKBONES / "llama"))


def test_a_judge_of_ours_can_be_a_source(make, tmp_path, root):
    source = save_judge(make.judge("llama"), tmp_path / "judge", tokenizer_dir=BACKBONES / "llama")
    path = import_backbone(source, backbone=PLAIN, root=root)
    assert not (path / "head.safetensors").exists()
    assert_same(weights_of(path), weights_of(source))


@pytest.mark.parametrize(("make_source", "backbone"), [(fused_source, FUSED), (plain_source, PLAIN)])
def test_code_beside_the_weights_is_neither_run_nor_kept(make_source, backbone, tmp_path, root):
    source = make_source("llama", tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    auto_map = {"AutoConfig": "configuration.Config", "AutoModel": "modeling.Model"}
    (source / "config.json").write_text(json.dumps(config | {"auto_map": auto_map}))
    (source / "configuration.py").write_text("raise SystemExit('this code must not run')")
    path = import_backbone(source, backbone=backbone, root=root)
    assert "auto_map" not in json.loads((path / "config.json").read_text())
    assert not list(path.glob("*.py"))


# Reuse, kills and company


def test_a_complete_import_is_reused_and_any_change_makes_another(tmp_path, root, caplog):
    source = fused_source("llama", tmp_path / "source")
    first = import_backbone(source, backbone=FUSED, root=root)
    written = (first / "model.safetensors").stat()
    caplog.clear()
    with caplog.at_level("INFO"):
        assert import_backbone(source, backbone=FUSED, root=root) == first
    assert [record.message for record in caplog.records] == [f"backbone {source}: reusing {first}"]
    assert (first / "model.safetensors").stat() == written
    moved = Path(shutil.move(source, tmp_path / "moved"))
    assert import_backbone(moved, backbone=FUSED, root=root) == first
    assert import_backbone(moved, backbone=BackboneConfig(layout="fused", old_head=("score.", "x")), root=root) != first
    rewrite(moved, lambda weights: weights["model.norm.weight"].add_(1))
    assert import_backbone(moved, backbone=FUSED, root=root) != first


def test_unchanged_source_files_are_not_read_once_more(tmp_path, root, monkeypatch):
    source = plain_source("llama", tmp_path / "source")
    first = import_backbone(source, backbone=PLAIN, root=root)
    hashed: list[str] = []
    describe = backbone_source.describe_file
    monkeypatch.setattr(backbone_source, "describe_file", lambda path: (hashed.append(path.name), describe(path))[1])
    assert import_backbone(source, backbone=PLAIN, root=root) == first
    assert hashed == []
    (source / "config.json").touch()
    assert import_backbone(source, backbone=PLAIN, root=root) == first
    assert hashed == ["config.json"]


def test_other_contents_of_the_same_size_and_time_are_read(tmp_path, root):
    source = plain_source("llama", tmp_path / "source")
    first = import_backbone(source, backbone=PLAIN, root=root)
    before = (source / "model.safetensors").stat()
    overwrite_end(source / "model.safetensors")
    os.utime(source / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))
    after = (source / "model.safetensors").stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    second = import_backbone(source, backbone=PLAIN, root=root)
    assert second != first
    assert_same(weights_of(second), weights_of(source))


def test_links_that_are_made_of_immutable_files_do_not_have_them_read_again(make, tmp_path, root, monkeypatch):
    source = save_judge(make.judge("llama"), tmp_path / "judge", tokenizer_dir=BACKBONES / "llama")
    first = import_backbone(source, backbone=PLAIN, root=root)
    os.link(source / "model.safetensors", tmp_path / "another name")
    hashed: list[str] = []
    monkeypatch.setattr(backbone_source, "describe_file", lambda path: hashed.append(path.name))
    assert import_backbone(source, backbone=PLAIN, root=root) == first
    assert hashed == []


def test_a_half_written_or_damaged_import_is_made_anew(tmp_path, root):
    source = fused_source("gemma", tmp_path / "source")
    path = import_backbone(source, backbone=FUSED, root=root)
    expected = weights_of(path)
    (path / "manifest.json").unlink()  # as after a kill
    (path / "model.safetensors").write_bytes(b"half")
    (root / f".{path.name}.999999999.partial").mkdir()
    assert import_backbone(source, backbone=FUSED, root=root) == path
    assert_same(weights_of(path), expected)
    (path / "model.safetensors").write_bytes(b"damaged later")
    assert import_backbone(source, backbone=FUSED, root=root) == path
    assert_same(weights_of(path), expected)
    assert sorted(entry.name for entry in root.iterdir()) == sorted([".lock", path.name])


def test_a_failed_import_leaves_nothing(tmp_path, root, monkeypatch):
    source = fused_source("gemma", tmp_path / "source")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backbone_import, "write_manifest", fail)
    with pytest.raises(OSError, match="No space"):
        import_backbone(source, backbone=FUSED, root=root)
    assert [entry.name for entry in root.iterdir()] == [".lock"]


def _import_in_child(source: Path, root: Path, barrier, results) -> None:
    barrier.wait()
    results.put(str(import_backbone(source, backbone=FUSED, root=root)))


def test_two_processes_at_once_make_one_backbone(tmp_path, root):
    source = fused_source("llama", tmp_path / "source")
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    children = [context.Process(target=_import_in_child, args=(source, root, barrier, results)) for _ in range(2)]
    for child in children:
        child.start()
    paths = {results.get(timeout=60) for _ in children}
    for child in children:
        child.join(timeout=60)
    assert [child.exitcode for child in children] == [0, 0]
    assert len(paths) == 1
    assert_same(weights_of(Path(paths.pop())), weights_of(BACKBONES / "llama"))
    assert len(list(root.iterdir())) == 2  # the backbone and .lock


# Wrong sources


def test_a_missing_directory_is_named_with_what_helps(tmp_path, root):
    for source in (tmp_path / "01_raw/checkpoints/gemma", str(tmp_path / "nowhere"), "gemma"):
        with pytest.raises(BackboneError) as caught:
            import_backbone(source, backbone=PLAIN, root=root)
        assert f"there is no checkpoint at {source}" in str(caught.value)
        assert "judges.<judge>.backbone.source" in str(caught.value)
        assert "01_raw/checkpoints/<judge>" in str(caught.value)
    assert not root.exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["config.json"], "has no config.json"),
        (["tokenizer.json"], "has no tokenizer"),
        (["model.safetensors"], "holds no weights"),
    ],
)
def test_an_incomplete_directory_is_refused(names, message, tmp_path, root):
    source = plain_source("gemma", tmp_path / "source")
    for name in names:
        (source / name).unlink()
    with pytest.raises(BackboneError, match=message):
        import_backbone(source, backbone=PLAIN, root=root)


def _drop(weights):
    del weights["model.layers.1.mlp.gate_up_proj.weight"]


def _add(weights):
    weights["model.layers.0.self_attn.qkv_proj.weight"] = torch.zeros(256, 128)


def _reshape(weights):
    weights["model.layers.2.mlp.gate_up_proj.weight"] = torch.zeros(384, 128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, r"layers\.1\.mlp\.gate_up_proj\.weight \(768, 128\) is missing$"),
        (_add, r"layers\.0\.self_attn\.qkv_proj\.weight \(256, 128\) is unexpected; name an old head"),
        (_reshape, r"layers\.2\.mlp\.gate_up_proj\.weight has shape \(384, 128\) instead of \(768, 128\)$"),
    ],
)
def test_a_wrong_weight_is_named_with_its_shapes(change, message, tmp_path, root):
    source = fused_source("llama", tmp_path / "source")
    rewrite(source, change)
    with pytest.raises(BackboneError, match=message) as caught:
        import_backbone(source, backbone=FUSED, root=root)
    assert str(source) in str(caught.value)
    assert [entry.name for entry in root.iterdir()] == [".lock"]


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8])
def test_quantized_weights_are_refused_by_name(dtype, tmp_path, root):
    source = plain_source("llama", tmp_path / "source")
    key = "layers.1.mlp.up_proj.weight"
    rewrite(source, lambda weights: weights.update({key: weights[key].to(dtype)}))
    with pytest.raises(
        BackboneError, match=rf"{key} holds {dtype}, as quantized weights do; it must be one of float16"
    ):
        import_backbone(source, backbone=PLAIN, root=root)


def test_weights_of_another_family_are_refused(tmp_path, root):
    source = fused_source("gemma", tmp_path / "source")
    shutil.copyfile(BACKBONES / "llama" / "config.json", source / "config.json")
    with pytest.raises(BackboneError, match=r"read as a fused llama: .*pre_feedforward_layernorm\.weight .*unexpected"):
        import_backbone(source, backbone=FUSED, root=root)


def test_the_other_layout_is_recognised(tmp_path, root):
    fused, plain = fused_source("gemma", tmp_path / "fused"), plain_source("gemma", tmp_path / "plain")
    with pytest.raises(BackboneError, match=r"set judges\.<judge>\.backbone\.layout to fused"):
        import_backbone(fused, backbone=BackboneConfig(old_head=("score.",)), root=root)
    with pytest.raises(BackboneError, match=r"set judges\.<judge>\.backbone\.layout to plain"):
        import_backbone(plain, backbone=FUSED, root=root)


@pytest.mark.parametrize("content", ['{"model_type": "nonesuch"}', "{}", "[", '{"model_type": "t5gemma"}'])
def test_a_configuration_of_no_known_backbone_is_refused(content, tmp_path, root):
    source = plain_source("gemma", tmp_path / "source")
    (source / "config.json").write_text(content)
    with pytest.raises(BackboneError, match=r"config|missing"):
        import_backbone(source, backbone=PLAIN, root=root)


@pytest.mark.parametrize("store", [None, pickle_weights])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_refused_by_name(store, kept, tmp_path, root):
    source = fused_source("llama", tmp_path / "source")
    if store is not None:
        store(source)
    file = find_weight_files(source)[0]
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(BackboneError, match=rf"{file.name} cannot be read as .*copy it again"):
        import_backbone(source, backbone=FUSED, root=root)


def pickle_as_before_torch_1_6(source: Path) -> None:
    weights = load_file(source / "model.safetensors")
    torch.save(weights, source / "model.pth", _use_new_zipfile_serialization=False)
    (source / "model.safetensors").unlink()


def test_a_pickle_of_the_older_format_is_read_and_its_damage_named(tmp_path, root):
    source = plain_source("llama", tmp_path / "source")
    pickle_as_before_torch_1_6(source)
    path = import_backbone(source, backbone=PLAIN, root=root)
    assert_same(weights_of(path), weights_of(BACKBONES / "llama"))
    content = (source / "model.pth").read_bytes()
    for kept in (0, 3, len(content) // 2, len(content) - 1):
        (source / "model.pth").write_bytes(content[:kept])
        with pytest.raises(BackboneError, match=r"model\.pth cannot be read as .*copy it again"):
            import_backbone(source, backbone=PLAIN, root=root)


@pytest.mark.parametrize("start", [b"", b"no pickle", b"\x80\x02}q\x00", b"PK\x03\x04", bytes(range(256))])
def test_no_content_of_a_pickle_is_an_error_of_ours(start, tmp_path, root):
    source = plain_source("llama", tmp_path / "source")
    (source / "model.safetensors").unlink()
    (source / "model.pth").write_bytes(start)
    with pytest.raises(BackboneError, match=r"model\.pth"):
        import_backbone(source, backbone=PLAIN, root=root)


class _Bomb:
    """Unpickled carelessly, it would make a directory."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin"])
def test_a_pickle_with_code_in_it_is_refused_unread(name, tmp_path, root):
    source = fused_source("llama", tmp_path / "source")
    weights = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    torch.save(weights | {"model.norm.weight": _Bomb(tmp_path / "boom")}, source / name)
    with pytest.raises(BackboneError, match=rf"{name} holds more than tensors and would run code"):
        import_backbone(source, backbone=FUSED, root=root)
    assert not (tmp_path / "boom").exists()
    torch.load(source / name, weights_only=False)
    assert (tmp_path / "boom").exists()  # the bomb was a real one


def test_files_that_hold_no_state_dict_are_refused(tmp_path, root):
    source = fused_source("llama", tmp_path / "source")
    (source / "model.safetensors").unlink()
    for content, message in (
        ([torch.zeros(1)], "holds a list, not a state dict"),
        ({"state_dict": {"a": torch.zeros(1)}}, "entry 'state_dict' is a dict, not a tensor"),
    ):
        torch.save(content, source / "model.pth")
        with pytest.raises(BackboneError, match=message):
            import_backbone(source, backbone=FUSED, root=root)
    (source / "model.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(BackboneError, match=r"model\.pth"):
        import_backbone(source, backbone=FUSED, root=root)


def test_it_must_be_clear_which_files_hold_the_weights(tmp_path, root):
    source = fused_source("llama", tmp_path / "source")
    shard(source)
    index = source / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    (source / "model-2.safetensors").rename(source / "model-9.safetensors")
    with pytest.raises(BackboneError, match=r"model-2\.safetensors is missing, but model\.safetensors\.index\.json"):
        import_backbone(source, backbone=FUSED, root=root)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(content["weight_map"], "../elsewhere.safetensors")}))
    with pytest.raises(BackboneError, match="not in its folder"):
        import_backbone(source, backbone=FUSED, root=root)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(content["weight_map"], 3)}))
    with pytest.raises(BackboneError, match="is no index of weights"):
        import_backbone(source, backbone=FUSED, root=root)
    index.write_text("[]")
    with pytest.raises(BackboneError, match="is no index of weights"):
        import_backbone(source, backbone=FUSED, root=root)
    index.unlink()
    with pytest.raises(BackboneError, match="several candidates"):
        import_backbone(source, backbone=FUSED, root=root)


def test_a_weight_in_two_shards_is_refused(tmp_path, root):
    source = fused_source("llama", tmp_path / "source")
    shard(source)
    extra = load_file(source / "model-0.safetensors")
    other = load_file(source / "model-1.safetensors")
    name = sorted(extra)[0]
    save_file(other | {name: extra[name]}, source / "model-1.safetensors")
    with pytest.raises(BackboneError, match=rf"model-1\.safetensors holds {name}"):
        import_backbone(source, backbone=FUSED, root=root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest | {"kind": "wsdm_arena judge"}, "describes 'wsdm_arena judge'"),
        (lambda manifest: manifest | {"format": 99}, "has format 99, this version reads 3"),
        (lambda manifest: [manifest], "describes None"),
        (lambda manifest: {key: manifest[key] for key in ("kind", "format")}, "names no files"),
    ],
)
def test_other_manifests_are_no_backbone_s(change, message, tmp_path, root):
    path = import_backbone(plain_source("llama", tmp_path / "source"), backbone=PLAIN, root=root)
    manifest = read_backbone_manifest(path)
    (path / "manifest.json").write_text(json.dumps(change(manifest)))
    with pytest.raises(BackboneError, match=message):
        read_backbone_manifest(path)


# The hub


def test_a_hub_name_is_downloaded_and_linked(tmp_path, root, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub" / "snapshots" / commit
    blobs = plain_source("llama", tmp_path / "hub" / "blobs")
    snapshot.mkdir(parents=True)
    for file in list(blobs.iterdir()):  # the hub's cache links to files named by their contents
        (snapshot / file.name).symlink_to(file.rename(blobs / describe_file(file)["sha256"]))
    asked = {}

    def download(name, *, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(snapshot)

    monkeypatch.setattr(backbone_source, "snapshot_download", download)
    path = import_backbone("google/tiny", backbone=BackboneConfig(revision="main"), root=root)
    assert (asked["name"], asked["revision"]) == ("google/tiny", "main")
    assert not [pattern for pattern in asked["patterns"] if pattern.endswith((".bin", ".pth", ".py", "*.json"))]
    assert read_backbone_manifest(path)["revision"] == commit
    assert not (path / "model.safetensors").is_symlink()
    assert (path / "model.safetensors").samefile(snapshot / "model.safetensors")
    blob = (snapshot / "model.safetensors").resolve()
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(blob.rename(blobs / "by hand.safetensors"))
    copied = import_backbone("google/tiny", backbone=BackboneConfig(revision="main"), root=tmp_path / "other")
    assert not (copied / "model.safetensors").samefile(snapshot / "model.safetensors")


def _response(status: int):
    class Response:
        status_code = status
        headers: dict = {}  # noqa: RUF012
        request = None

    return Response()


@pytest.mark.parametrize(
    ("error", "messages"),
    [
        (hub_errors.GatedRepoError("403", response=_response(403)), ["accept its licence", "hf auth login"]),
        (hub_errors.RepositoryNotFoundError("404", response=_response(404)), ["neither a directory", "hf auth login"]),
        (hub_errors.HFValidationError("bad name"), ["neither a directory"]),
        (hub_errors.OfflineModeIsEnabled("offline mode is enabled"), ["offline mode is enabled", "to a directory"]),
        (hub_errors.LocalEntryNotFoundError("no route to host"), ["no route to host", "to a directory"]),
    ],
)
def test_a_hub_that_does_not_give_is_explained(error, messages, root, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(backbone_source, "snapshot_download", refuse)
    with pytest.raises(BackboneError) as caught:
        import_backbone("google/gemma-2-27b-it", backbone=PLAIN, root=root)
    for message in ["google/gemma-2-27b-it", "judges.<judge>.backbone.source", *messages]:
        assert message in str(caught.value)


def test_without_network_the_hub_s_client_itself_fails_in_time(root, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BackboneError, match="set judges"):
        import_backbone("wsdm-arena/not-in-any-cache", backbone=PLAIN, root=root)


def test_weights_of_a_large_backbone_are_sharded_and_read_one_shard_at_a_time(tmp_path, root, monkeypatch):
    monkeypatch.setattr(backbone_import, "MAX_SHARD_SIZE", "400KB")
    held = []

    def save(tensors, path, metadata):
        held.append(sum(tensor.nbytes for tensor in tensors.values()))
        save_file(tensors, path, metadata=metadata)

    monkeypatch.setattr(weight_files, "save_file", save)
    path = import_backbone(fused_source("gemma", tmp_path / "source"), backbone=FUSED, root=root)
    sizes = [file.stat().st_size for file in path.glob("model-*.safetensors")]
    assert len(sizes) == len(held) - 1 > 3  # the first one is the source's
    assert max(held[1:]) <= 2048 * 128 * 2  # the embeddings, which are more than a shard
    load_backbone(path, load_config(path, sliding_window=True), dtype=torch.float16)
    assert_same(weights_of(path), weights_of(BACKBONES / "gemma"))


@pytest.mark.parametrize("layout", ["plain", "fused"])
def test_weights_that_are_no_numbers_are_refused_by_name(layout, tmp_path, root):
    source = (plain_source if layout == "plain" else fused_source)("llama", tmp_path / "source")
    weights = weights_of(source)
    key = next(key for key in weights if key.endswith("layers.1.mlp.down_proj.weight"))
    weights[key][0, 0] = float("nan")
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    old_head = ("score.",) if layout == "fused" else ()
    with pytest.raises(BackboneError, match=r"layers\.1\.mlp\.down_proj\.weight.*not finite"):
        import_backbone(source, backbone=BackboneConfig(layout=layout, old_head=old_head), root=root)
