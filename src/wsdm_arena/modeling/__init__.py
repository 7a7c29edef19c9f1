"""Judges: unmodified transformers backbones that read packed sequences, and a head on each last token."""
