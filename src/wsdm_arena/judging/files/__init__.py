"""Verdicts for files of any length, in parts that outlast a killed command."""
