"""Reasoning models think aloud before they answer; judges are shown the answer."""

import re

_TAG = re.compile(r"<(/?)think>")


def strip_reasoning(text: str) -> str | None:
    """Remove ``<think> ... </think>`` blocks, nested ones and repeated ones too.

    A closing tag without an opening one ends a block that began with the text: chat templates of reasoning models
    (DeepSeek-R1's) put the opening tag into the prompt.

    Returns:
        What is left, without white space at its ends where a block was removed; None where a block is not closed, as
        the answer was cut off before it began.

    Example:
        >>> strip_reasoning("Two and two... </think> 4"), strip_reasoning("<think>Hm"), strip_reasoning(" 4")
        ('4', None, ' 4')
    """
    kept: list[str] = []
    depth = end = 0
    for tag in _TAG.finditer(text):
        if depth == 0:
            kept.append(text[end : tag.start()])
        end = tag.end()
        if not tag[1]:
            depth += 1
        elif depth > 0:
            depth -= 1
        else:
            kept.clear()
    if depth > 0:
        return None
    return "".join([*kept, text[end:]]).strip() if end else text
