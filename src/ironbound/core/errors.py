"""What can go wrong, as one tree. Every message says what was got, what was expected and what to do.

    IronboundError
    ├── UsageError (ValueError)      a call's own arguments
    │   ├── InputError               data: shape, range, dtype, labels, NaN
    │   ├── CompositionError         parts of an attack that do not fit each other
    │   └── UnknownName              a name that the catalogue does not have
    ├── ModelError                   the model fails, or answers what no goal can read
    ├── UnsupportedOperation         an operation that no bound is known for
    ├── DataError                    a file that cannot be read as what it should be
    ├── RunError                     a run folder: not one, of another run, altered, not writable
    │   └── FingerprintMismatch      resuming or verifying with another model, data set or plan
    ├── OutOfMemory                  even one row at a time does not fit
    └── SoundnessAlarm               a certified sample was broken: a bug, never to be ignored

What happens to single problems is no exception but a `Status` of the result.
"""

from __future__ import annotations


class IronboundError(Exception):
    """The root of all errors that Ironbound raises on purpose."""


class UsageError(IronboundError, ValueError):
    """An argument of a call is wrong."""


class InputError(UsageError):
    """Data of the wrong shape, range or dtype, labels out of range, NaN."""


class CompositionError(UsageError):
    """Parts of an attack that do not fit each other."""


class UnknownName(UsageError):
    """A name that the catalogue does not have."""


class ModelError(IronboundError):
    """The model fails, or answers what no goal can read."""


class UnsupportedOperation(IronboundError):
    """An operation of the model that no bound is known for."""


class DataError(IronboundError):
    """A file that cannot be read as what it should be."""


class RunError(IronboundError):
    """A run folder that is none, belongs to another run, was altered or cannot be written."""


class FingerprintMismatch(RunError):
    """Resuming or verifying with another model, data set or plan than the run was made with."""


class OutOfMemory(IronboundError):
    """Even one row at a time does not fit into memory."""


class SoundnessAlarm(IronboundError):
    """A sample that was certified has been broken."""


BROKEN: tuple[type[Exception], ...] = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)
"""What a folder that was altered by hand makes its readers raise."""
