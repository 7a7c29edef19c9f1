"""What can go wrong with a download."""

import errno

from wsdm_arena.errors import UserError

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Full or not to be written to; not the network's fault."""


class FetchError(UserError, RuntimeError):
    """An input cannot be fetched, or is not what it should be; the message names it and the cure."""


class InterruptedDownloadError(FetchError):
    """The connection broke; the same command goes on where it stopped."""
