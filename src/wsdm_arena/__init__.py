"""Judges that predict which of two chatbot answers a human prefers."""

__version__ = "0.1.0"
