"""One package a pipeline; none imports another."""
