class VLLMClientError(Exception):
    """As in vLLM 0.32; older versions raise ValueError."""
