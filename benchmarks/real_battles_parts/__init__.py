"""Parts of ``benchmarks/real_battles.py``."""
