import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM

from wsdm_arena.config import HeadConfig
from wsdm_arena.modeling import checkpoint as checkpoint_module
from wsdm_arena.modeling.checkpoint import CheckpointError, load_judge, read_manifest, save_judge, save_judge_state


@pytest.fixture
def saved(make, tmp_path):
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text("{}")
    (tokenizer / "training_args.bin").write_text("not a tokenizer")
    judge = make.judge("gemma2", sliding_window=False, dropout=0.2)
    path = save_judge(
        judge, tmp_path / "judge", tokenizer_dir=tokenizer, manifest={"fingerprint": "abc", "stage": "teacher"}
    )
    return judge, path


def test_a_saved_judge_comes_back(family, make, tmp_path, batch):
    for sliding_window in (True, False):
        judge = make.judge(family, sliding_window=sliding_window)
        path = save_judge(judge, tmp_path / f"judge-{sliding_window}")
        loaded = load_judge(path, attention="segments").eval()
        assert torch.equal(loaded(batch), judge(batch))
        assert loaded.sliding_window is sliding_window
        assert loaded.head.config == judge.head.config


def test_weights_are_as_readable_as_the_other_files(saved):
    _, folder = saved
    modes = {path.name: oct(path.stat().st_mode) for path in folder.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_the_directory_says_what_it_is(saved):
    _, path = saved
    assert sorted(file.name for file in path.iterdir()) == [
        "config.json", "head.safetensors", "manifest.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    manifest = read_manifest(path)
    files = manifest.pop("files")
    assert sorted(files) == ["config.json", "head.safetensors", "model.safetensors", "tokenizer.json"]
    assert files["tokenizer.json"]["size"] == 2
    assert manifest == {
        "format": 1,
        "kind": "wsdm_arena judge",
        "model_type": "gemma2",
        "dtype": "float32",
        "head": {"kind": "mlp", "dropout": 0.2},
        "num_classes": 2,
        "sliding_window": False,
        "fingerprint": "abc",
        "stage": "teacher",
    }


def test_transformers_reads_the_backbone_alike(family, make, tmp_path, sequences):
    judge = make.judge(family, sliding_window=False)
    path = save_judge(judge, tmp_path / "judge")
    backbone, info = AutoModel.from_pretrained(path, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    _, expected = make.alone(judge, sequences)
    for sequence, states in zip(sequences, expected, strict=True):
        ours = backbone(input_ids=torch.from_numpy(sequence)[None], use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(ours, states)
    AutoModelForCausalLM.from_pretrained(path)


def test_large_backbones_are_sharded(make, tmp_path, batch, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "MAX_SHARD_SIZE", "20KB")
    judge = make.judge("llama")
    path = save_judge(judge, tmp_path / "judge")
    assert len(list(path.glob("model-*.safetensors"))) > 2
    assert torch.equal(load_judge(path).eval()(batch), judge(batch))


def test_the_stored_dtype_is_kept_unless_another_is_asked_for(make, tmp_path):
    path = save_judge(make.judge("llama").to(torch.bfloat16), tmp_path / "judge")
    assert {weight.dtype for weight in load_judge(path).parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in load_judge(path, dtype="float32").parameters()} == {torch.float32}


def test_saving_replaces_the_older_judge_and_leaves_nothing_beside_it(make, tmp_path, batch):
    path = tmp_path / "judge"
    save_judge(make.judge("qwen2"), path)
    (path / "stale.txt").write_text("from the older one")
    (tmp_path / ".judge.1234567.partial").mkdir()  # of a process that was killed
    judge = make.judge("llama")
    save_judge(judge, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["judge"]
    assert not (path / "stale.txt").exists()
    assert torch.equal(load_judge(path).eval()(batch), judge(batch))


def test_a_failed_save_keeps_the_older_judge(saved, monkeypatch):
    judge, path = saved

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint_module, "_write_manifest", fail)
    with pytest.raises(OSError, match="No space"):
        save_judge(judge, path)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["judge", "tokenizer"]
    load_judge(path)


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "head.safetensors", "config.json"])
def test_a_half_written_directory_is_refused(saved, name):
    _, path = saved
    (path / name).unlink()
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_judge(path)


def test_a_file_of_another_size_is_refused(saved):
    _, path = saved
    (path / "tokenizer.json").write_text("{} ")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json has 3 bytes, not the 2 that"):
        load_judge(path, verify_checksums=False)


def test_a_flipped_bit_is_found_by_checksum(saved):
    _, path = saved
    content = bytearray((path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_judge(path)
    load_judge(path, verify_checksums=False)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("kind", "token store", "describes 'token store'"), ("format", 99, "has format 99, this version reads 1")],
)
def test_other_kinds_and_formats_are_refused(saved, field, value, message):
    _, path = saved
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, field: value}))
    with pytest.raises(CheckpointError, match=message):
        load_judge(path)


def test_a_manifest_that_is_no_json_is_refused(saved):
    _, path = saved
    (path / "manifest.json").write_text('{"kind": ')
    with pytest.raises(CheckpointError, match="is damaged"):
        load_judge(path)


def test_another_architecture_is_refused_by_name(saved):
    _, path = saved
    with pytest.raises(CheckpointError, match="holds a gemma2 judge, not llama"):
        load_judge(path, model_type="llama")


@pytest.mark.parametrize("file", ["model.safetensors", "head.safetensors"])
@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_weights_must_match_exactly(saved, file, change):
    _, path = saved
    weights = load_file(path / file)
    if change == "missing":
        name = next(name for name in weights if name.endswith("weight"))
        del weights[name]
    else:
        name = "extra.weight"
        weights[name] = torch.zeros(1)
    save_file(weights, path / file, metadata={"format": "pt"})
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][file]["size"] = (path / file).stat().st_size
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_judge(path, verify_checksums=False)


def test_stray_weights_and_reserved_manifest_fields_are_refused(make, tmp_path):
    judge = make.judge("llama")
    arguments = {"config": judge.config, "head": HeadConfig(), "num_classes": 2, "sliding_window": True}
    with pytest.raises(CheckpointError, match=r"module\.backbone\.x"):
        save_judge_state(tmp_path / "judge", state={"module.backbone.x": torch.zeros(1)}, **arguments)
    with pytest.raises(CheckpointError, match="'dtype'"):
        save_judge_state(tmp_path / "judge", state=judge.state_dict(), manifest={"dtype": "x"}, **arguments)
    assert list(tmp_path.iterdir()) == []
