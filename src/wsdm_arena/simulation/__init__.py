"""A chatbot arena whose models, voters and best reachable accuracy are known."""

from wsdm_arena.simulation.answers import Flaw
from wsdm_arena.simulation.arena import SimulatedArena, ceiling_accuracy, simulate_arena
from wsdm_arena.simulation.collected_pairs import simulate_collected_pairs
from wsdm_arena.simulation.conversations import SimulatedConversations, simulate_conversations
from wsdm_arena.simulation.draws import Universe

__all__ = [
    "Flaw",
    "SimulatedArena",
    "SimulatedConversations",
    "Universe",
    "ceiling_accuracy",
    "simulate_arena",
    "simulate_collected_pairs",
    "simulate_conversations",
]
