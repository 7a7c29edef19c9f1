"""Battles become token ids: the judging template, truncation, and the store that keeps them."""
