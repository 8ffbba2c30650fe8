"""What can a user do something about? The base of every such error."""


class UserError(Exception):
    """An error that a user can do something about; the message is one line: what is wrong, where, and what to do."""
