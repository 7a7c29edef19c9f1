"""A bundle gives back the judge that went in, in either layout, or says what is wrong with it."""

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from wsdm_arena.batching.packed import PackedBatch
from wsdm_arena.config import HeadConfig, TemplateConfig, TruncationConfig
from wsdm_arena.judging.bundle import Bundle, BundleError, BundlePrompt, write_bundle
from wsdm_arena.modeling.backbone import load_backbone, load_config
from wsdm_arena.modeling.checkpoint import CheckpointError, load_judge, save_judge
from wsdm_arena.modeling.head import Head
from wsdm_arena.modeling.judge import JudgeModel
from wsdm_arena.prompts.tokenizers import load_tokenizer
from wsdm_arena.runs.files import describe_file
from wsdm_arena.runs.fingerprint import manifest_digest
from wsdm_arena.simulation.backbones import BACKBONES

PROMPT = BundlePrompt(
    template=TemplateConfig(
        instruction="Which answer is better? 🙂",
        battle_start="<battle>",
        prompt_heading="User: ",
        response_a_heading="A: ",
        response_b_heading="B: ",
        battle_end="</battle>",
        verdict_prefix="verdict: [[",
    ),
    system_role=True,
    truncation=TruncationConfig(
        max_battle_tokens=256,
        marker="...",
        per_field={"max_prompt_tokens": 64, "max_response_tokens": 64},
        shared_budget={"reserved_tokens": 13, "max_prompt_tokens": 64},
    ),
    policy="shared_budget",
)


def make_checkpoint(
    target: Path, family: str, *, dtype=torch.float32, sliding_window: bool = True, kind: str = "mlp"
) -> Path:
    source = BACKBONES / family
    backbone = load_backbone(source, load_config(source, sliding_window=sliding_window), dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # the committed weights are float16 already: these are not
        for parameter in backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=1e-4)
    head = Head(HeadConfig(kind=kind, dropout=0.2), 128, 2, seed=0)
    judge = JudgeModel(backbone, head, sliding_window=sliding_window).to(dtype)
    return save_judge(judge, target, tokenizer_dir=source, manifest={"fingerprint": "abc", "stage": "final"})


def bundle_of(checkpoint: Path, target: Path, *, layouts=("plain", "fused"), **changes) -> Path:
    values = {
        "prompt": PROMPT,
        "temperature": 1.25,
        "calibration": {"num_pairs": 7, "log_loss_before": None},
        "provenance": {"env": "sample", "backbones": ["öffentlich"]},
    }
    return write_bundle(target, checkpoint=checkpoint, layouts=layouts, **(values | changes))


@pytest.fixture(params=["gemma", "llama"])
def checkpoint(request, tmp_path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint", request.param)


@pytest.fixture
def llama(tmp_path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint", "llama")


@pytest.fixture
def batch() -> PackedBatch:
    generator = np.random.default_rng(0)
    return PackedBatch.from_sequences([generator.integers(10, 2048, length) for length in (5, 150, 80, 1)])


def read(judge: JudgeModel, batch: PackedBatch) -> torch.Tensor:
    with torch.no_grad():
        return judge(batch)


def test_a_bundle_gives_back_what_went_in(checkpoint, tmp_path, batch):
    path = bundle_of(checkpoint, tmp_path / "bundle")
    bundle = Bundle.open(path)
    assert bundle.prompt == PROMPT
    assert bundle.temperature == 1.25
    assert bundle.calibration == {"num_pairs": 7, "log_loss_before": None}
    assert bundle.provenance == {"env": "sample", "backbones": ["öffentlich"]}
    assert bundle.layouts == ("fused", "plain")
    assert bundle.fingerprint == manifest_digest(path)
    assert (bundle.manifest["fingerprint"], bundle.manifest["stage"]) == ("abc", "final")
    judge = bundle.load_judge()
    assert not judge.training
    assert torch.equal(read(judge, batch), read(load_judge(checkpoint).eval(), batch))


def test_the_fused_layout_is_the_plain_one_within_float16(checkpoint, tmp_path, batch):
    both = Bundle.open(bundle_of(checkpoint, tmp_path / "both"))
    fused = Bundle.open(bundle_of(checkpoint, tmp_path / "fused", layouts=["fused"]))
    plain_judge, fused_judge = both.load_judge(), fused.load_judge(dtype="float32")
    plain, split = plain_judge.state_dict(), fused_judge.state_dict()
    assert set(plain) == set(split)
    for key in plain:
        assert torch.equal(split[key], plain[key].half().float()), key
    assert not torch.equal(split["backbone.norm.weight"], plain["backbone.norm.weight"])
    torch.testing.assert_close(read(fused_judge, batch), read(plain_judge, batch), rtol=5e-3, atol=5e-3)
    assert fused_judge.head.config == plain_judge.head.config == HeadConfig(dropout=0.2)
    assert fused.manifest["dtype"] == "float16"
    assert {value.dtype for value in fused.load_judge().state_dict().values()} == {torch.float16}


@pytest.mark.parametrize("layouts", [["plain"], ["fused"]])
@pytest.mark.parametrize("kind", ["mlp", "linear", "verbalizer"])
def test_windows_heads_and_types_come_through_either_layout(layouts, kind, tmp_path, batch):
    source = make_checkpoint(tmp_path / "checkpoint", "gemma", dtype=torch.bfloat16, sliding_window=False, kind=kind)
    prompt = PROMPT.model_copy(update={"system_role": False})  # Gemma's chat template takes none
    judge = Bundle.open(bundle_of(source, tmp_path / "bundle", layouts=layouts, prompt=prompt)).load_judge(
        dtype=torch.float32, attention="segments", device="cpu"
    )
    expected = load_judge(source, dtype="float32").eval()
    assert judge.sliding_window is False
    assert judge.attention == "segments"
    torch.testing.assert_close(read(judge, batch), read(expected, batch), rtol=1e-3, atol=1e-3)


def test_a_plain_bundle_is_a_checkpoint_whose_weights_are_linked(llama, tmp_path, batch):
    path = bundle_of(llama, tmp_path / "bundle", layouts=["plain"])
    assert {file.name for file in path.iterdir()} == {file.name for file in llama.iterdir()} | {
        "prompt.json", "calibration.json", "provenance.json",
    }  # fmt: skip
    for name in ("model.safetensors", "head.safetensors"):
        assert (path / name).samefile(llama / name)
    assert not (path / "config.json").samefile(llama / "config.json")
    assert torch.equal(read(load_judge(path).eval(), batch), read(load_judge(llama).eval(), batch))


def test_a_fused_bundle_is_no_checkpoint_and_says_so(llama, tmp_path):
    path = bundle_of(llama, tmp_path / "bundle", layouts=["fused"])
    assert {file.name for file in path.iterdir()} == {
        "fused", "prompt.json", "calibration.json", "provenance.json", "manifest.json",
    }  # fmt: skip
    with pytest.raises(CheckpointError, match="a bundle without the plain layout"):
        load_judge(path)
    assert "score.4.weight" in load_file(path / "fused" / "model.safetensors")


def is_mapped(tensor: torch.Tensor, file: Path) -> bool:
    """Whether a tensor's memory is that of a mapped file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(edge, 16) for edge in line.split()[0].split("-"))
        if start <= tensor.data_ptr() < end:
            return line.endswith(str(file))
    return False


@pytest.mark.parametrize(
    ("stored", "wanted", "layout"),
    [
        (torch.bfloat16, "float16", "fused"),
        (torch.float32, torch.float16, "fused"),
        (torch.float16, "float16", "plain"),
        (torch.bfloat16, None, "plain"),
    ],
)
def test_the_layout_that_holds_the_wanted_type_is_mapped(stored, wanted, layout, tmp_path):
    path = bundle_of(make_checkpoint(tmp_path / "checkpoint", "gemma", dtype=stored), tmp_path / "bundle")
    judge = Bundle.open(path).load_judge(dtype=wanted)
    assert {parameter.dtype for parameter in judge.parameters()} == {torch.float16 if wanted else stored}
    weight = judge.backbone.get_parameter("layers.0.mlp.gate_proj.weight")
    is_fused, is_plain = (is_mapped(weight, path / folder / "model.safetensors") for folder in ("fused", "."))
    assert (is_fused, is_plain) == (layout == "fused", layout == "plain")


@pytest.mark.parametrize("key", ["backbone.norm.weight", "head.output.weight"])
def test_a_cast_that_would_overflow_is_refused_by_key(key, tmp_path):
    source = make_checkpoint(tmp_path / "checkpoint", "llama", dtype=torch.bfloat16)
    judge = load_judge(source)
    with torch.no_grad():
        judge.get_parameter(key)[..., 0] = 1e5
    save_judge(judge, source, tokenizer_dir=BACKBONES / "llama")
    name = key.partition(".")[2]
    with pytest.raises(CheckpointError, match=rf"{name} holds 99840, which is too large for torch\.float16"):
        load_judge(source, dtype="float16")
    bundle = Bundle.open(bundle_of(source, tmp_path / "bundle", layouts=["plain"]))
    with pytest.raises(BundleError, match=rf"{name} holds 99840"):
        bundle.load_judge(dtype="float16")
    assert bundle.load_judge(dtype="float32").get_parameter(key).max() == 99840


@pytest.mark.parametrize("field", ["layouts", "dtype", "sliding_window", "head", "num_classes", "model_type"])
@pytest.mark.parametrize("layouts", [["plain"], ["fused"]])
def test_a_manifest_that_does_not_say_all_is_refused_by_field(field, layouts, llama, tmp_path):
    path = bundle_of(llama, tmp_path / "bundle", layouts=layouts)
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest[field]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=f"does not say {field}"):
        Bundle.open(path)
    with pytest.raises(CheckpointError, match=f"does not say {field}"):
        load_judge(path)


def test_a_loaded_judge_is_a_copy_whatever_is_done_to_it(llama, tmp_path):
    """Weights in memory may be mapped files, and those may be links to the checkpoint's."""
    for layouts in (["plain"], ["fused"]):
        path = bundle_of(llama, tmp_path / layouts[0], layouts=layouts)
        judge = Bundle.open(path).load_judge()
        with torch.no_grad():
            for parameter in judge.parameters():
                parameter.zero_()
        Bundle.open(path, verify_checksums=True)


@pytest.mark.parametrize("layouts", [["plain"], ["fused"]])
def test_the_tokenizer_is_where_the_bundle_says(layouts, llama, tmp_path):
    bundle = Bundle.open(bundle_of(llama, tmp_path / "bundle", layouts=layouts))
    ours, original = load_tokenizer(bundle.tokenizer_dir), load_tokenizer(BACKBONES / "llama")
    assert ours.backend_tokenizer.to_str() == original.backend_tokenizer.to_str()
    assert ours.chat_template == original.chat_template


def test_the_fingerprint_names_the_contents_wherever_they_lie(llama, tmp_path):
    first = Bundle.open(bundle_of(llama, tmp_path / "first"))
    moved = Path(shutil.copytree(first.path, tmp_path / "moved"))
    assert Bundle.open(moved).fingerprint == first.fingerprint
    assert Bundle.open(bundle_of(llama, tmp_path / "again")).fingerprint == first.fingerprint
    other = Bundle.open(bundle_of(llama, tmp_path / "other", temperature=1.5))
    assert other.fingerprint != first.fingerprint


def test_of_the_versions_of_a_catalog_entry_the_newest_is_opened(llama, tmp_path):
    entry = tmp_path / "final" / "llama" / "bundle"
    for version in ("2026-01-01T00.00.00.000Z", "2026-02-01T00.00.00.000Z"):
        (entry / version).mkdir(parents=True)
        bundle_of(llama, entry / version / "bundle", layouts=["plain"])
    assert Bundle.open(entry).path == entry / "2026-02-01T00.00.00.000Z" / "bundle"


@pytest.mark.parametrize("layouts", [["plain"], ["fused"]])
def test_nothing_of_it_needs_a_network(layouts, llama, tmp_path, batch, monkeypatch):
    path = bundle_of(llama, tmp_path / "bundle", layouts=layouts)

    def refuse(*_, **__):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    bundle = Bundle.open(path)
    load_tokenizer(bundle.tokenizer_dir)
    assert read(bundle.load_judge(dtype="float32"), batch).shape == (4, 2)


def test_a_missing_file_is_named(llama, tmp_path):
    path = bundle_of(llama, tmp_path / "bundle")
    for name in sorted(json.loads((path / "manifest.json").read_text())["files"]):
        (path / name).rename(path / "gone")
        with pytest.raises(BundleError, match=rf"{name} is missing"):
            Bundle.open(path)
        (path / "gone").rename(path / name)
    Bundle.open(path)


def test_a_half_written_bundle_is_refused(llama, tmp_path):
    path = bundle_of(llama, tmp_path / "bundle")
    (path / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"no complete bundle: it has no manifest\.json"):
        Bundle.open(path)
    with pytest.raises(BundleError, match=r"no complete bundle"):
        Bundle.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["prompt.json", "calibration.json", "fused/model.safetensors", "head.safetensors"])
def test_a_damaged_file_is_named(name, llama, tmp_path):
    path = bundle_of(llama, tmp_path / "bundle")
    content = bytearray((path / name).read_bytes())
    content[-1] ^= 1
    (path / name).unlink()  # it may be a link to the checkpoint's
    (path / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} is damaged"):
        Bundle.open(path)
    (path / name).write_bytes(content[:-1])
    with pytest.raises(BundleError, match=rf"{name} has \d+ bytes, not the"):
        Bundle.open(path, verify_checksums=False)


def test_foreign_directories_are_refused_by_name(llama, tmp_path):
    with pytest.raises(BundleError, match="describes 'wsdm_arena judge', not a 'wsdm_arena bundle'"):
        Bundle.open(llama)
    path = bundle_of(llama, tmp_path / "bundle")
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(BundleError, match="has format 99, this version reads 2"):
        Bundle.open(path)
    (path / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="is damaged"):
        Bundle.open(path)


def rewrite_json(path: Path, name: str, content: object) -> None:
    """Change a file and what the manifest says of it, as another version might have written it."""
    (path / name).write_text(json.dumps(content))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][name]["size"] = (path / name).stat().st_size
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("prompt.json", {"policy": "per_field"}, "no bundle that this version can use"),
        ("prompt.json", [], "holds a list, not a mapping"),
        ("calibration.json", {"temperature": "warm", "fit": {}}, "no bundle that this version can use"),
        ("calibration.json", {"temperature": 0, "fit": {}}, "temperature"),
        ("calibration.json", {}, "no bundle that this version can use"),
    ],
)
def test_contents_of_another_meaning_are_refused(name, content, message, llama, tmp_path):
    path = bundle_of(llama, tmp_path / "bundle")
    rewrite_json(path, name, content)
    with pytest.raises(BundleError, match=message):
        Bundle.open(path, verify_checksums=False)


def test_weights_that_do_not_fit_are_refused_when_loading(llama, tmp_path):
    other = make_checkpoint(tmp_path / "other", "gemma")
    path = bundle_of(llama, tmp_path / "bundle", layouts=["fused"])
    foreign = bundle_of(other, tmp_path / "foreign", layouts=["fused"])
    shutil.copyfile(foreign / "fused" / "model.safetensors", path / "fused" / "model.safetensors")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["fused/model.safetensors"]["size"] = (path / "fused/model.safetensors").stat().st_size
    (path / "manifest.json").write_text(json.dumps(manifest))
    bundle = Bundle.open(path, verify_checksums=False)
    with pytest.raises(BundleError, match=r"pre_feedforward_layernorm\.weight .* is unexpected"):
        bundle.load_judge()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layouts": []}, "needs a layout"),
        ({"layouts": ["square"]}, "square"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"calibration": {"x": float("nan")}}, r"calibration\.json takes JSON values only"),
        ({"provenance": {"x": object()}}, r"provenance\.json takes JSON values only"),
    ],
)
def test_what_cannot_be_bundled_is_refused_and_leaves_nothing(changes, message, llama, tmp_path):
    with pytest.raises(BundleError, match=message):
        bundle_of(llama, tmp_path / "bundle", **changes)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoint"]


def test_a_damaged_checkpoint_is_not_bundled(llama, tmp_path):
    (llama / "head.safetensors").write_bytes(b"")
    with pytest.raises(BundleError, match=r"no bundle can be made of .*head\.safetensors has 0 bytes"):
        bundle_of(llama, tmp_path / "bundle")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoint"]


@pytest.mark.parametrize("name", ["../evil.json", "{}/evil.json", "a/../../evil.json"])
def test_a_manifest_that_names_files_elsewhere_is_refused(name, llama, tmp_path):
    name = name.format(tmp_path)
    (tmp_path / "evil.json").write_text("{}")  # as if it were the checkpoint's
    manifest = json.loads((llama / "manifest.json").read_text())
    described = describe_file(tmp_path / "evil.json")
    (llama / "manifest.json").write_text(json.dumps(manifest | {"files": manifest["files"] | {name: described}}))
    (tmp_path / "bundles").mkdir()
    with pytest.raises(BundleError, match=r"evil\.json' does not stay within its directory"):
        bundle_of(llama, tmp_path / "bundles" / "bundle")
    assert list((tmp_path / "bundles").iterdir()) == []
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "manifest.json").write_text(
        json.dumps({"kind": "wsdm_arena bundle", "format": 2, "files": {name: described}})
    )
    with pytest.raises(BundleError, match=r"evil\.json' does not stay within its directory"):
        Bundle.open(path)


def test_a_bundle_is_not_bundled_again(llama, tmp_path):
    path = bundle_of(llama, tmp_path / "bundle")
    with pytest.raises(BundleError, match="is a bundle already"):
        bundle_of(path, tmp_path / "again")


def test_writing_again_replaces_the_older_bundle(llama, tmp_path):
    path = bundle_of(llama, tmp_path / "bundle")
    assert bundle_of(llama, path, layouts=["plain"], temperature=2.0) == path
    bundle = Bundle.open(path)
    assert (bundle.temperature, bundle.layouts) == (2.0, ("plain",))
    assert not (path / "fused").exists()
