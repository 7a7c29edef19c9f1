"""The recipe's inputs: what they are, what of them is here, and how the rest is downloaded."""

from wsdm_arena.fetching.errors import FetchError
from wsdm_arena.fetching.fetch import Outcome, fetch_inputs
from wsdm_arena.fetching.inputs import Input, list_inputs
from wsdm_arena.fetching.plan import FetchPlan, PlannedInput, plan_fetch

__all__ = ["FetchError", "FetchPlan", "Input", "Outcome", "PlannedInput", "fetch_inputs", "list_inputs", "plan_fetch"]
