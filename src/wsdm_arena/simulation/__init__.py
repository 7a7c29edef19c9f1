"""A chatbot arena whose models, voters and best reachable accuracy are known."""

from wsdm_arena.simulation.answers import Flaw
from wsdm_arena.simulation.arena import SimulatedArena, ceiling_accuracy, simulate_arena
from wsdm_arena.simulation.draws import Universe

__all__ = ["Flaw", "SimulatedArena", "Universe", "ceiling_accuracy", "simulate_arena"]
