"""The exceptions a user is told of in one line."""


class InputError(Exception):
    """Input that cannot be used.

    The message is one line: what was expected, what came, in which file, and what to do.
    The command line prints it and exits with a non-zero status, without a traceback.
    """


class UnwritableError(InputError):
    """A file that cannot be written: the fault of the disk or the folder, not of one input among several."""


class UnreadableError(InputError):
    """A file or folder that the system does not let be read: closed to this user, or on a broken disk."""


class LostProcessError(Exception):
    """Another process of a divided run has ended; the message tells how to continue."""
