"""What ``benchmarks/trainers.py`` runs in processes of their own: one module a trainer, and what they share."""
