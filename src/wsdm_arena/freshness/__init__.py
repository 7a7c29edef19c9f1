"""Which work is up to date, and a runner that does the rest."""
