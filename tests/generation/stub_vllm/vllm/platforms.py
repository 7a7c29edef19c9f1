import os


class current_platform:  # noqa: N801  (as in vLLM)
    @staticmethod
    def is_cpu() -> bool:
        return "cpu" in os.environ.get("STUB_MANNERS", "").split()
