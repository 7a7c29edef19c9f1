"""What can go wrong with a download."""

from wsdm_arena.errors import UserError


class FetchError(UserError, RuntimeError):
    """An input cannot be fetched, or is not what it should be; the message names it and the cure."""


class InterruptedDownloadError(FetchError):
    """The connection broke; the same command goes on where it stopped."""
