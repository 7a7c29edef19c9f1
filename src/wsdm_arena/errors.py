"""What tells a user's mistake from ours."""


class UserError(Exception):
    """Something that whoever gave the command can cure: the message names the place and the cure.

    Shown as one message, without a traceback. Errors of the library derive from it and from the built-in class that
    fits them.
    """
