"""Kedro's settings of the project."""

import warnings

from wsdm_arena.config_loader import LocalLastConfigLoader
from wsdm_arena.hooks import Preflight
from wsdm_arena.session import UpToDateSession

# Kedro 1.7 calls a function that omegaconf 2.4 renamed, several times a run; nothing a user could act on.
warnings.filterwarnings("ignore", message=r"register_new_resolver\(\) is deprecated")
# Names such as `teacher.gemma.scores` are namespaced ones; a node that reads several namespaces must spell them out.
warnings.filterwarnings("ignore", message=r"One or more dataset names contain '\.'")

HOOKS = (Preflight(),)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)
SESSION_CLASS = UpToDateSession
CONFIG_LOADER_CLASS = LocalLastConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "sample",
    "config_patterns": {"sources": ["sources*"]},
    "merge_strategy": {"parameters": "soft", "globals": "soft", "sources": "soft"},
}
