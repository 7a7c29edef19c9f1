"""Places of the parameter tree and the classes that describe them: what a reference of parameters is made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from wsdm_arena.config.base import WITHOUT_EFFECT, StrictConfig
from wsdm_arena.config.planning import SourcedFigure
from wsdm_arena.config.training import TrainingConfig

_KEYS = {
    "backbones": "judge",
    "overrides": "judge",
    "answer_models": "answer model",
    "models": "hub name",
}
"""What keys of a mapping are; those of others are called as the mapping without its last letter."""
_TYPES = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "anything", NoneType: "null"}


@dataclass(frozen=True)
class Section:
    """One class in one place of the tree.

    Attributes:
        path: YAML path, ``()`` for the top; names that the user chooses are ``<judge>`` and the like.
        cls: The class that describes it.
        is_without_effect: Whether the whole section is marked.
    """

    path: tuple[str, ...]
    cls: type[StrictConfig]
    is_without_effect: bool = False

    @property
    def title(self) -> str:
        """Heading, and what links point to."""
        return ".".join(self.path)


def sections(root: type[StrictConfig]) -> Iterator[Section]:
    """Walk through a tree of classes, a class before those within it."""
    yield from _walk(Section((), root))


def _walk(section: Section) -> Iterator[Section]:
    yield section
    for name, field in section.cls.model_fields.items():
        marked = section.is_without_effect or WITHOUT_EFFECT in field.metadata
        if section.path == () and is_training_layer(field, name):
            yield from _walk(Section(("training",), TrainingConfig))
        elif (inner := class_within(field, name)) is not None:
            cls, key = inner
            yield from _walk(Section((*section.path, name, *key), cls, marked))


def class_within(field: FieldInfo, name: str) -> tuple[type[StrictConfig], tuple[str, ...]] | None:
    """The class that a field's value is described by, and the placeholder of its key if it is a mapping of such."""
    annotation: Any = field.annotation
    is_mapping = get_origin(annotation) is dict
    cls = get_args(annotation)[1] if is_mapping else annotation
    if not isinstance(cls, type) or not issubclass(cls, StrictConfig) or cls is SourcedFigure:
        return None
    return cls, (f"<{_KEYS.get(name, name.removesuffix('s'))}>",) if is_mapping else ()


def is_training_layer(field: FieldInfo, name: str) -> bool:
    """Whether a field is one of the layers that :class:`~wsdm_arena.config.training.TrainingConfig` is merged from."""
    return name == "training" and get_origin(field.annotation) is dict


def describe_type(annotation: Any) -> str:
    """Name a type in words that a writer of YAML knows.

    Example:
        >>> describe_type(tuple[int, ...] | None)
        'list of integer or null'
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe_type(args[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin in (Union, UnionType):
        return " or ".join(describe_type(arg) for arg in args)
    if origin is tuple:
        is_open = args[-1] is Ellipsis
        return f"list of {describe_type(args[0])}" if is_open else f"[{', '.join(describe_type(arg) for arg in args)}]"
    if origin is dict:
        return f"mapping of name to {describe_type(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "`{ value, source }`"
    return _TYPES[annotation]
