"""The judging prompt as constant token ids around a battle's three texts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError

from wsdm_arena.config import TemplateConfig
from wsdm_arena.prompts.text import TextEncoder
from wsdm_arena.prompts.tokenizers import PromptError, build_trusted_tokenizer, forget_calls

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SYSTEM_SENTINEL = "Q7systemQ7"
_USER_SENTINEL = "Q7userQ7"

_FIXED_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"
"""Some chat templates write today's date into the prompt; the same battle must give the same tokens tomorrow."""


@dataclass(frozen=True)
class RenderedTemplate:
    """The constant ids around the three texts, for one tokenizer, template and use of the system role.

    A sequence is ``before_prompt + prompt + before_response_a + first + before_response_b + second + after_battle``,
    where first and second are the responses as displayed.

    Attributes:
        missing: Stands in for a text that is null.
        marker: Stands where the middle of a text was cut out; empty until truncation sets one.
        num_battle_overhead_tokens: The three headings, which count towards ``max_battle_tokens`` as the texts do.
        answers: What follows a sequence if a language model names one of ``template.answers``, an id each; empty where
            one of them is not a single token. No sequence holds them.
    """

    before_prompt: tuple[int, ...]
    before_response_a: tuple[int, ...]
    before_response_b: tuple[int, ...]
    after_battle: tuple[int, ...]
    missing: tuple[int, ...]
    marker: tuple[int, ...]
    num_battle_overhead_tokens: int
    answers: tuple[int, ...] = ()

    @property
    def num_constant_tokens(self) -> int:
        """Tokens of a sequence that are not the battle's texts."""
        return sum(map(len, (self.before_prompt, self.before_response_a, self.before_response_b, self.after_battle)))

    @cached_property
    def hash(self) -> str:
        """Identifies the ids around a battle's texts and of what stands in for a missing one (32 hex digits)."""
        parts = (self.before_prompt, self.before_response_a, self.before_response_b, self.after_battle, self.missing)
        return blake2b(repr(parts).encode(), digest_size=16).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a manifest keeps them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RenderedTemplate":
        """The inverse of :meth:`to_dict`."""
        restored: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**restored)


def render_template(
    tokenizer: "PreTrainedTokenizerBase",
    template: TemplateConfig,
    *,
    system_role: bool,
    marker: str = "",
    encoder: TextEncoder | None = None,
) -> RenderedTemplate:
    """Tokenize what is the same in every sequence.

    The tokenizer's chat template is rendered around placeholders. Its own text is read with control tokens; the
    configuration's texts, which take the placeholders' place, are read as user text is, so that no wording of an
    instruction can end a turn. The result begins with one BOS where template or tokenizer want one.

    Args:
        tokenizer: A fast tokenizer with a chat template.
        template: The wording.
        system_role: Whether the instruction becomes the system message; otherwise it opens the user's message, with
            an empty line after it.
        marker: ``truncation.marker``.
        encoder: A :class:`TextEncoder` of this tokenizer, if there is one already.

    Raises:
        PromptError: There is no chat template, or it refuses or loses a message.
    """
    before_system, before_user, after_user = _split_chat(tokenizer, system_role=system_role)
    forget_calls(tokenizer.backend_tokenizer)
    trusted = build_trusted_tokenizer(tokenizer.backend_tokenizer)
    encoder = encoder or TextEncoder(tokenizer)

    def read_chat(text: str) -> tuple[int, ...]:
        return tuple(trusted.encode(text, add_special_tokens=False).ids)

    def read(text: str) -> tuple[int, ...]:
        return tuple(encoder.encode(text).tolist())

    if system_role:
        opening = _read_opening(tokenizer, before_system) + read(template.instruction) + read_chat(before_user)
    else:
        instruction = template.instruction and template.instruction.rstrip("\n") + "\n\n"
        opening = _read_opening(tokenizer, before_user) + read(instruction)
    headings = [read(h) for h in (template.prompt_heading, template.response_a_heading, template.response_b_heading)]
    return RenderedTemplate(
        before_prompt=opening + read(template.battle_start) + headings[0],
        before_response_a=headings[1],
        before_response_b=headings[2],
        after_battle=read(template.battle_end) + read_chat(after_user) + read(template.verdict_prefix),
        missing=read(template.missing_text),
        marker=read(marker),
        num_battle_overhead_tokens=sum(map(len, headings)),
        answers=_find_answers(encoder, template) or (),
    )


def require_answers(
    tokenizer: "PreTrainedTokenizerBase", template: TemplateConfig, *, encoder: TextEncoder | None = None
) -> tuple[int, ...]:
    """Find the tokens that a head of kind ``verbalizer`` starts from.

    Args:
        tokenizer: A fast tokenizer.
        template: Its ``answers`` are read as they follow its ``verdict_prefix``.
        encoder: A :class:`TextEncoder` of this tokenizer, if there is one already.

    Returns:
        An id for each answer, no two alike.

    Raises:
        PromptError: Behind the prefix an answer is not exactly one further token, or it is the same one as another's;
            says how it was read, and what helps.
    """
    encoder = encoder or TextEncoder(tokenizer)
    found = _find_answers(encoder, template)
    if found is not None:
        return found
    prefix, name = template.verdict_prefix, tokenizer.name_or_path or type(tokenizer).__name__
    readings = {text: encoder.encode(text).tolist() for text in (prefix, *(prefix + each for each in template.answers))}
    shown = "; ".join(f"{text!r} as {tokenizer.convert_ids_to_tokens(ids)}" for text, ids in readings.items())
    raise PromptError(
        "head.kind: verbalizer needs each of template.answers to be one token of its own behind "
        f"template.verdict_prefix, but the tokenizer of {name} reads {shown}; set other template.answers, another "
        "template.verdict_prefix, or judges.<judge>.head.kind: linear"
    )


def _find_answers(encoder: TextEncoder, template: TemplateConfig) -> tuple[int, ...] | None:
    """The token that each answer adds to the verdict's prefix; None unless each adds one of its own."""
    prefix = encoder.encode(template.verdict_prefix).tolist()
    read = [encoder.encode(template.verdict_prefix + answer).tolist() for answer in template.answers]
    if any(len(ids) != len(prefix) + 1 or ids[:-1] != prefix for ids in read):
        return None
    found = tuple(ids[-1] for ids in read)
    return found if len(set(found)) == len(found) else None


def _split_chat(tokenizer: "PreTrainedTokenizerBase", *, system_role: bool) -> tuple[str, str, str]:
    """The chat template's own text before the system message, before the user's, and after it.

    Without a system role the first is empty.
    """
    sentinels = {"system": _SYSTEM_SENTINEL, "user": _USER_SENTINEL} if system_role else {"user": _USER_SENTINEL}
    cure = "; set judges.<judge>.system_role: false" if system_role else ""
    name = tokenizer.name_or_path or type(tokenizer).__name__
    try:
        rendered = _render_chat(tokenizer, [{"role": role, "content": text} for role, text in sentinels.items()])
    except (TemplateError, TypeError) as error:
        raise PromptError(f"the chat template of {name} failed: {error}{cure}") from error
    for role, sentinel in sentinels.items():
        if rendered.count(sentinel) != 1:
            raise PromptError(
                f"the chat template of {name} renders the {role} message {rendered.count(sentinel)} times, not once"
                f"{cure if role == 'system' else ''}"
            )
    before_user, after_user = rendered.split(_USER_SENTINEL)
    if not system_role:
        if default := _find_default_system_prompt(tokenizer, before_user):
            raise PromptError(
                f"the chat template of {name} puts in a system message of its own, {default!r}, where there is none; "
                "set judges.<judge>.system_role: true, so that the instruction takes its place"
            )
        return "", before_user, after_user
    if _SYSTEM_SENTINEL not in before_user:
        raise PromptError(f"the chat template of {name} puts the system message behind the user's{cure}")
    before_system, between = before_user.split(_SYSTEM_SENTINEL)
    return before_system, between, after_user


def _find_default_system_prompt(tokenizer: "PreTrainedTokenizerBase", before_user: str) -> str | None:
    """What stands, without a system message, where one would; None where nothing does, or none is taken."""
    messages = [{"role": "system", "content": _SYSTEM_SENTINEL}, {"role": "user", "content": _USER_SENTINEL}]
    try:
        opening, _, rest = _render_chat(tokenizer, messages).partition(_SYSTEM_SENTINEL)
    except (TemplateError, TypeError):
        return None
    between = rest.partition(_USER_SENTINEL)[0]
    if not between or not before_user.startswith(opening) or not before_user.endswith(between):
        return None
    return before_user[len(opening) : len(before_user) - len(between)].strip() or None


def _render_chat(tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]]) -> str:
    try:
        chat_template = tokenizer.get_chat_template()
    except ValueError as error:
        name = tokenizer.name_or_path or type(tokenizer).__name__
        raise PromptError(
            f"the tokenizer of {name} has no chat template; put chat_template.jinja beside its tokenizer.json"
        ) from error
    if "strftime_now" in chat_template:
        chat_template = _FIXED_DATE + chat_template
    return str(
        tokenizer.apply_chat_template(messages, chat_template=chat_template, tokenize=False, add_generation_prompt=True)
    )


def _read_opening(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[int, ...]:
    """Ids of the chat's first text, with one BOS where the chat template or the tokenizer puts one."""
    backend = tokenizer.backend_tokenizer
    ids = backend.encode(text, add_special_tokens=False).ids
    bos = tokenizer.bos_token_id
    if bos is None:
        return tuple(ids)
    while ids[:2] == [bos, bos]:
        ids = ids[1:]
    adds_bos = backend.encode("", add_special_tokens=True).ids[:1] == [bos]
    if adds_bos and ids[:1] != [bos]:
        ids = [bos, *ids]
    return tuple(ids)
