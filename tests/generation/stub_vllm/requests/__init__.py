"""The package of this name, which vLLM needs; no module of ours may be taken for it."""
