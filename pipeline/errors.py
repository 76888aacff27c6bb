"""The one exception that means: the user can mend this, so show a line and no traceback."""


class UserError(ValueError):
    """A user's mistake, told in one line: where, what was given, what is accepted."""
