"""How much memory a training needs."""

import psutil
import torch


def memory_bytes(device: torch.device) -> int:
    """Most memory this process has held on its GPU so far, or what it holds now in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss
