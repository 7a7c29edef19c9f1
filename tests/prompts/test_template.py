"""The constant ids around a battle."""

import copy

import pytest

from tests.tiny_tokenizers import byte_fallback_style, gemma_style, llama_style
from wsdm_arena.config import TemplateConfig
from wsdm_arena.prompts.template import RenderedTemplate, render_template, require_answers
from wsdm_arena.prompts.tokenizers import PromptError

TEMPLATE = TemplateConfig(
    instruction="Judge fairly.",
    battle_start="<battle>\n",
    prompt_heading="### User:\n",
    response_a_heading="\n\n### Assistant A:\n",
    response_b_heading="\n\n### Assistant B:\n",
    battle_end="\n</battle>",
    verdict_prefix="verdict is: [[",
)


def with_chat_template(tokenizer, chat_template):
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = chat_template
    return changed


def texts_of(tokenizer, rendered):
    pieces = (rendered.before_prompt, rendered.before_response_a, rendered.before_response_b, rendered.after_battle)
    return [tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=False) for ids in pieces]


@pytest.mark.parametrize("tokenizer", [gemma_style(), byte_fallback_style()], ids=["gemma", "byte_fallback"])
def test_without_a_system_role_the_instruction_opens_the_users_message(tokenizer):
    rendered = render_template(tokenizer, TEMPLATE, system_role=False)
    assert texts_of(tokenizer, rendered) == [
        "<bos><start_of_turn>user\nJudge fairly.\n\n<battle>\n### User:\n",
        "\n\n### Assistant A:\n",
        "\n\n### Assistant B:\n",
        "\n</battle><end_of_turn>\n<start_of_turn>model\nverdict is: [[",
    ]


def test_with_a_system_role_the_instruction_is_the_system_message():
    rendered = render_template(llama_style(), TEMPLATE, system_role=True)
    assert texts_of(llama_style(), rendered) == [
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nJudge fairly.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n<battle>\n### User:\n",
        "\n\n### Assistant A:\n",
        "\n\n### Assistant B:\n",
        "\n</battle><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nverdict is: [[",
    ]


def test_control_tokens_of_the_chat_template_are_single_ids():
    tokenizer = gemma_style()
    rendered = render_template(tokenizer, TEMPLATE, system_role=False)
    control = tokenizer.convert_tokens_to_ids(["<bos>", "<start_of_turn>"])
    assert list(rendered.before_prompt[:2]) == control
    assert tokenizer.convert_tokens_to_ids("<end_of_turn>") in rendered.after_battle


def test_headings_count_towards_the_battle_and_marks_do_not():
    rendered = render_template(gemma_style(), TEMPLATE, system_role=False)
    no_marks = render_template(
        gemma_style(), TEMPLATE.model_copy(update={"battle_start": "", "battle_end": ""}), system_role=False
    )
    heading = gemma_style().encode("### User:\n", add_special_tokens=False)
    responses = len(rendered.before_response_a) + len(rendered.before_response_b)
    assert rendered.num_battle_overhead_tokens == len(heading) + responses
    assert no_marks.num_battle_overhead_tokens == rendered.num_battle_overhead_tokens
    assert no_marks.num_constant_tokens < rendered.num_constant_tokens


@pytest.mark.parametrize(
    ("opening", "begins_with"),
    [
        ("{{ bos_token }}", "<bos><start_of_turn>user\n"),
        ("{{ bos_token }}{{ bos_token }}", "<bos><start_of_turn>user\n"),
        ("", "<bos><start_of_turn>user\n"),
    ],
    ids=["from the template", "doubled by the template", "from the tokenizer"],
)
def test_there_is_one_bos_wherever_it_comes_from(opening, begins_with):
    tokenizer = with_chat_template(
        gemma_style(), opening + "<start_of_turn>user\n{{ messages[0]['content'] }}<end_of_turn>\n"
    )
    rendered = render_template(tokenizer, TEMPLATE, system_role=False)
    assert texts_of(tokenizer, rendered)[0].startswith(begins_with)
    assert rendered.before_prompt.count(tokenizer.bos_token_id) == 1


def test_there_is_no_bos_where_neither_template_nor_tokenizer_has_one():
    tokenizer = copy.deepcopy(llama_style())
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.bos_token = None
    rendered = render_template(tokenizer, TEMPLATE, system_role=False)
    assert texts_of(tokenizer, rendered)[0] == "Judge fairly.\n\n<battle>\n### User:\n"


def test_a_turn_marker_that_is_also_the_bos_is_kept_in_every_turn():
    tokenizer = with_chat_template(
        gemma_style(), "{% for m in messages %}{{ bos_token + m['role'] + ' ' + m['content'] }}{% endfor %}"
    )
    rendered = render_template(tokenizer, TEMPLATE, system_role=True)
    assert texts_of(tokenizer, rendered)[0] == "<bos>system Judge fairly.<bos>user <battle>\n### User:\n"


def test_a_default_system_prompt_of_the_chat_template_is_part_of_the_constant_text():
    chat = "<start_of_turn>system\nYou are helpful.<end_of_turn>\n{{ messages[0]['content'] }}"
    tokenizer = with_chat_template(gemma_style(), chat)
    rendered = render_template(tokenizer, TEMPLATE, system_role=False)
    assert "You are helpful.<end_of_turn>\nJudge fairly." in texts_of(tokenizer, rendered)[0]


CHAT_ML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are Small.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)


def test_a_default_system_prompt_in_the_instructions_place_is_refused_by_name():
    tokenizer = with_chat_template(llama_style(), CHAT_ML)
    tokenizer.name_or_path = "some/small-model"
    message = r"some/small-model puts in a system message of its own, 'You are Small\.', .*system_role: true"
    with pytest.raises(PromptError, match=message):
        render_template(tokenizer, TEMPLATE, system_role=False)
    opening = texts_of(tokenizer, render_template(tokenizer, TEMPLATE, system_role=True))[0]
    assert "You are Small" not in opening
    assert opening.count("Judge fairly.") == 1


SPLIT_OFF_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
)
TURNS = "{% for m in rest %}<start_of_turn>user\n{{ m['content'] }}<end_of_turn>\n{% endfor %}"


@pytest.mark.parametrize(
    ("chat", "begins_with"),
    [
        (
            SPLIT_OFF_SYSTEM
            + "<bos><start_of_turn>user\n{{ system + '\n\n' if system else '' }}{{ rest[0]['content'] }}<end_of_turn>",
            "<bos><start_of_turn>user\nJudge",
        ),
        (
            SPLIT_OFF_SYSTEM + "<bos><start_of_turn>system\nCutoff: 2023\n\n{{ system }}<end_of_turn>\n" + TURNS,
            "<bos><start_of_turn>system\nCutoff: 2023\n\n<end_of_turn>\n<start_of_turn>user\nJudge",
        ),
        (
            SPLIT_OFF_SYSTEM + "{% if system %}{{ raise_exception('no system role') }}{% endif %}<bos>" + TURNS,
            "<bos><start_of_turn>user\nJudge",
        ),
    ],
    ids=["merges both messages, as Gemma", "opens with a system turn anyway, as Llama 3.1", "takes no system message"],
)
def test_what_is_no_default_system_prompt_is_not_taken_for_one(chat, begins_with):
    tokenizer = with_chat_template(gemma_style(), chat)
    rendered = render_template(tokenizer, TEMPLATE, system_role=False)
    assert texts_of(tokenizer, rendered)[0].startswith(begins_with)


def test_todays_date_does_not_get_into_the_tokens():
    chat = "{{ bos_token }}Today: {{ strftime_now('%d %b %Y') }}\n{{ messages[0]['content'] }}"
    tokenizer = with_chat_template(gemma_style(), chat)
    rendered = render_template(tokenizer, TEMPLATE, system_role=False)
    assert texts_of(tokenizer, rendered)[0].startswith("<bos>Today: 26 Jul 2024\n")


def test_truncation_left_on_by_an_earlier_call_does_not_shorten_the_template():
    tokenizer = copy.deepcopy(llama_style())
    whole = render_template(tokenizer, TEMPLATE, system_role=True)
    tokenizer("some text", truncation=True, max_length=2)
    assert tokenizer.backend_tokenizer.truncation is not None  # guard
    assert render_template(tokenizer, TEMPLATE, system_role=True) == whole


def test_trimming_chat_templates_do_not_trim_our_texts():
    spaced = TEMPLATE.model_copy(update={"battle_end": "\nend \n\n"})
    rendered = render_template(gemma_style(), spaced, system_role=False)
    assert texts_of(gemma_style(), rendered)[3].startswith("\nend \n\n<end_of_turn>")


def test_configured_texts_cannot_end_a_turn():
    tricky = TEMPLATE.model_copy(update={"instruction": "Say <end_of_turn><bos>.", "verdict_prefix": "<eos>"})
    tokenizer = gemma_style()
    rendered = render_template(tokenizer, tricky, system_role=False)
    plain = render_template(tokenizer, TEMPLATE, system_role=False)
    for token in ("<bos>", "<end_of_turn>", "<eos>"):
        token_id = tokenizer.convert_tokens_to_ids(token)
        ids, plain_ids = ((*r.before_prompt, *r.after_battle) for r in (rendered, plain))
        assert ids.count(token_id) == plain_ids.count(token_id)
    assert texts_of(tokenizer, rendered)[3].endswith("<eos>")


def test_a_leading_space_is_added_only_where_a_sequence_begins():
    tokenizer = byte_fallback_style(prefix_space=True)
    tokenizer = with_chat_template(tokenizer, "{{ messages[0]['content'] }}go")
    rendered = render_template(tokenizer, TEMPLATE, system_role=False)
    assert texts_of(tokenizer, rendered)[3] == "\n</battle>goverdict is: [["


def test_a_tokenizer_without_chat_template_is_refused_by_name():
    tokenizer = with_chat_template(gemma_style(), None)
    tokenizer.name_or_path = "some/base-model"
    with pytest.raises(PromptError, match=r"some/base-model has no chat template; put chat_template\.jinja"):
        render_template(tokenizer, TEMPLATE, system_role=False)


def test_a_chat_template_that_refuses_the_system_role_names_the_parameter():
    with pytest.raises(PromptError, match=r"System role not supported; set judges\.<judge>\.system_role: false"):
        render_template(gemma_style(), TEMPLATE, system_role=True)


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ("{{ messages[-1]['content'] }}", "renders the system message 0 times"),
        ("{{ messages[0]['content'] }}", "renders the user message 0 times"),
        ("{{ messages[1]['content'] }}{{ messages[0]['content'] }}", "puts the system message behind"),
        ("{{ messages[0]['content'] }}{{ messages[1]['content'] * 2 }}", "renders the user message 2 times"),
    ],
)
def test_a_chat_template_that_loses_a_message_is_refused(chat, message):
    with pytest.raises(PromptError, match=message):
        render_template(with_chat_template(llama_style(), chat), TEMPLATE, system_role=True)


def test_a_rendered_template_survives_its_manifest_and_its_hash_follows_its_ids():
    rendered = render_template(gemma_style(), TEMPLATE, system_role=False, marker="...")
    assert RenderedTemplate.from_dict(rendered.to_dict()) == rendered
    other = render_template(
        gemma_style(), TEMPLATE.model_copy(update={"missing_text": "none"}), system_role=False, marker="..."
    )
    assert other.hash != rendered.hash
    assert len(rendered.hash) == 32


def wording(**changes):
    return TEMPLATE.model_copy(update=changes)


@pytest.mark.parametrize("tokenizer", [gemma_style(), llama_style(), byte_fallback_style()])
def test_answers_are_the_tokens_that_would_follow(tokenizer):
    answers = require_answers(tokenizer, TEMPLATE)
    assert tokenizer.convert_ids_to_tokens(list(answers)) == ["A", "B"]
    rendered = render_template(tokenizer, TEMPLATE, system_role=False)
    assert rendered.answers == answers
    whole = tokenizer.backend_tokenizer.encode("verdict is: [[B", add_special_tokens=False).ids
    assert tuple(whole) == (*rendered.after_battle[-len(whole) + 1 :], answers[1])
    assert require_answers(tokenizer, wording(answers=("B", "A", "="), verdict_prefix=""))[1] == answers[0]


def test_answers_are_no_part_of_what_judges_read():
    rendered = render_template(gemma_style(), TEMPLATE, system_role=False)
    other = render_template(gemma_style(), wording(answers=("B", "A")), system_role=False)
    assert other.answers == rendered.answers[::-1]
    assert other.hash == rendered.hash
    assert other.num_constant_tokens == rendered.num_constant_tokens
    older = {name: value for name, value in rendered.to_dict().items() if name != "answers"}
    assert RenderedTemplate.from_dict(older).answers == ()
    assert RenderedTemplate.from_dict(older).hash == rendered.hash


@pytest.mark.parametrize(
    ("changes", "reading"),
    [
        ({"answers": ("A", "Paris is")}, r"'verdict is: \[\[Paris is' as \[.*'Pa', 'ris', 'Ġis'\]"),  # two tokens
        ({"answers": ("A", "")}, r"'verdict is: \[\[' as"),  # none
        ({"answers": ("A", "A")}, r"'verdict is: \[\[A' as .*'A'\]"),  # not to be told apart
        ({"answers": ("A", "<eos>")}, r"<eos>' as"),  # a control token is text here
        ({"verdict_prefix": "verdict is: [", "answers": ("[", "A")}, r"'verdict is: \[\[' as .*'Ġ\[\['\]"),  # merged
    ],
)
def test_answers_that_are_no_tokens_of_their_own_are_refused_by_how_they_are_read(changes, reading):
    message = (
        rf"tokenizer of .* reads .*{reading}.*; set other template\.answers, .*judges\.<judge>\.head\.kind: linear"
    )
    with pytest.raises(PromptError, match=message):
        require_answers(gemma_style(), wording(**changes))
    assert render_template(gemma_style(), wording(**changes), system_role=False).answers == ()
