"""Free the disk of weights that are not needed any more."""

import logging
from pathlib import Path

logger = logging.getLogger(__name__)


def remove_from_hub_cache(model: str, revision: str | None, cache_dir: Path | None = None) -> int:
    """Delete a model's weights from the hub's cache on this machine; a local directory is never touched.

    Args:
        model: Name on the hub.
        revision: Commit, branch or tag; None: the main branch. Others of the same model stay.
        cache_dir: None: where the hub's library keeps it.

    Returns:
        Bytes that were freed; 0 where nothing was there.
    """
    from huggingface_hub import CacheNotFound, scan_cache_dir  # slow to import, and only this needs it

    if Path(model).exists():
        return 0
    try:
        cache = scan_cache_dir(cache_dir)
    except CacheNotFound:
        return 0
    wanted = revision or "main"
    commits = [
        found.commit_hash
        for repository in cache.repos
        if repository.repo_id == model and repository.repo_type == "model"
        for found in repository.revisions
        if wanted in found.refs or found.commit_hash.startswith(wanted)
    ]
    if not commits:
        return 0
    strategy = cache.delete_revisions(*commits)
    strategy.execute()
    logger.info("%s: %.1f GB of weights removed from the hub's cache", model, strategy.expected_freed_size / 1e9)
    return strategy.expected_freed_size
