"""Kedro's settings of the project."""

from wsdm_arena.config_loader import LocalLastConfigLoader
from wsdm_arena.hooks import Preflight

HOOKS = (Preflight(),)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)
CONFIG_LOADER_CLASS = LocalLastConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "sample",
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}
