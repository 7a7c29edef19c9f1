"""Preference battles: reading raw tables, stable ids, labels, languages, folds."""
