"""The exceptions that mean: show a line and no traceback."""


class UserError(ValueError):
    """A user's mistake, told in one line: where, what was given, what is accepted."""

    status = 2  # of the process


class PassingError(UserError):
    """What may be mended by time, such as a server that is away: one line too, but a second try may help."""

    status = 75  # EX_TEMPFAIL of sysexits.h
