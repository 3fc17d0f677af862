"""What reading a file took, what it left and why, and what its user should know of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from personaagent.data.normal import normal
from personaagent.errors import DataError


@dataclass(slots=True)
class Account:
    """Counts of a reader; they fill while the reader is read.

    Attributes:
        skip_malformed: leave a record that breaks the format, instead of an error.
        taken: by kind.
        left: by reason.
        changed: taken, but not as they stand in the file, by what was changed.
        malformed: one message for each record that breaks the format and was left.
        warnings: what the file lacks as a whole.
        written: the forms in which a user id was written, by the user.
    """

    skip_malformed: bool = False
    taken: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    malformed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    written: dict[str, set[str]] = field(default_factory=dict)

    def refuse(self, error: DataError) -> None:
        """Leave the record that an error is about, where malformed ones are left.

        Raises:
            DataError: the error itself, where they are not.
        """
        if not self.skip_malformed:
            raise error
        self.malformed.append(str(error))

    def user(self, id: str) -> str:
        """The user of an id as a file writes it."""
        user = normal(id)
        self.written.setdefault(user, set()).add(id)
        return user

    @property
    def joined(self) -> dict[str, list[str]]:
        """The users whose ids were written in another form than theirs, with these forms."""
        return {
            user: sorted(forms)
            for user, forms in sorted(self.written.items())
            if forms - {user}
        }
