"""Judges that predict which of two chatbot answers a human prefers.

::

    from wsdm_arena import Judge

    judge = Judge.load("bundle")
    verdict = judge.compare(prompt, response_a, response_b)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsdm_arena.judging.bundle import BundleError
    from wsdm_arena.judging.judge import Judge, JudgeError, Verdict

__version__ = "0.1.0"

__all__ = ["BundleError", "Judge", "JudgeError", "Verdict", "__version__"]

_LAZY = {
    "BundleError": "wsdm_arena.judging.bundle",
    "Judge": "wsdm_arena.judging.judge",
    "JudgeError": "wsdm_arena.judging.judge",
    "Verdict": "wsdm_arena.judging.judge",
}
"""Loaded when they are asked for: they import torch, which takes seconds."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
