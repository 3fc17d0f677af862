"""What reading a file took, what it left and why, and what its user should know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sized
from dataclasses import dataclass, field

from personaagent.data.normal import normal
from personaagent.errors import DataError


@dataclass(slots=True)
class ImportSummary:
    """Counts of a reader; they fill while the reader is read.

    Attributes:
        skip_malformed: leave a record that breaks the format, instead of an error.
        taken: by kind.
        left: by reason.
        changed: taken, but not as they stand in the file, by what was changed.
        refused: the error that ended the reading, if it was about one record.
        written: the forms in which a user id was written, by the user.
    """

    skip_malformed: bool = False
    taken: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    refused: DataError | None = None
    written: dict[str, set[str]] = field(default_factory=dict)
    _malformed: dict[str, None] = field(default_factory=dict)
    _pages: list[tuple[int, int | None, bool]] = field(default_factory=list)

    def refuse(self, error: DataError) -> None:
        """Leave the record that an error is about, where malformed ones are left.

        Raises:
            DataError: the error itself, where they are not.
        """
        if not self.skip_malformed:
            self.refused = error
            raise error
        self._malformed[str(error)] = None

    @property
    def malformed(self) -> list[str]:
        """One message for each record that breaks the format and was left, however often read."""
        return list(self._malformed)

    def user(self, id: str) -> str:
        """The user of an id as a file writes it."""
        user = normal(id)
        self.written.setdefault(user, set()).add(id)
        return user

    def page(self, found: Sized, count: object, *, more: bool) -> None:
        """Take notice of a page of a longer list: the whole list has `count` entries, if it says
        so, and there is another page after this one."""
        self._pages.append((len(found), count if isinstance(count, int) else None, more))

    @property
    def missing(self) -> str:
        """What the pages lack of the list that they are of, for a person; empty if nothing."""
        found = sum(number for number, _, _ in self._pages)
        counts = [count for _, count, _ in self._pages if count is not None]
        if counts and found < max(counts):
            return f"{found} of {max(counts)}: get the other pages too and give all in one command"
        if not counts and self._pages and all(more for _, _, more in self._pages):
            return f"{found} of more: get the page that 'next' names too"
        return ""

    @property
    def joined(self) -> dict[str, list[str]]:
        """The users whose ids were written in another form than theirs, with these forms."""
        return {
            user: sorted(forms) for user, forms in sorted(self.written.items()) if forms - {user}
        }
