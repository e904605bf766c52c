"""The errors that reach a user, each with the exit code the command line returns for it.

A message says what was given, what is wrong with it, and what to type instead.
"""


class QkdError(Exception):
    """Base of every error that this package raises on purpose (exit code 1)."""

    exit_code = 1


class ConfigurationError(QkdError, ValueError):
    """A setting, option or job file that can't be used as given (exit code 2, like any wrong usage)."""

    exit_code = 2


class DataError(QkdError):
    """A data set, teacher file or snapshot that is missing, damaged or lacks what was asked of it (exit code 3)."""

    exit_code = 3


class BackendError(QkdError):
    """A backend, account or job that is unknown, unreachable or failed (exit code 4)."""

    exit_code = 4


class RunError(QkdError):
    """A run directory or checkpoint that is missing, damaged, occupied or of another shape (exit code 5)."""

    exit_code = 5


class UndecidedError(QkdError):
    """Nobody can say yet whether a paid job exists, so nothing was submitted; ask again later (exit code 6)."""

    exit_code = 6


class AccountError(BackendError):
    """The service refuses the account: its token is wrong, expired or revoked (exit code 7)."""

    exit_code = 7


class BudgetError(QkdError):
    """An evaluation that costs more than was allowed, or was not confirmed; nothing was submitted (exit code 8)."""

    exit_code = 8


class LedgerError(QkdError):
    """The ledger of paid jobs is in use by another process, damaged, or can't be written (exit code 9)."""

    exit_code = 9


class InterruptedRunError(QkdError):
    """The user pressed Ctrl-C; everything up to then is kept (exit code 130; 143 if it was SIGTERM, 129 SIGHUP)."""

    exit_code = 130
