"""The exceptions that stand for a mistake in the user's input."""


class InputError(Exception):
    """Input that cannot be used.

    The message is one line: what was expected, what came, in which file, and what to do.
    The command line prints it and exits with a non-zero status, without a traceback.
    """


class UnwritableError(InputError):
    """A file that cannot be written: the fault of the disk or the folder, not of one input among several."""
