"""Exported judges at work: bundles, the cascade over test pairs, the submission."""
