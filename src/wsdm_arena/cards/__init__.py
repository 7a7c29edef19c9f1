"""Model cards and data cards: what was made, from what, and how far it may be trusted."""
