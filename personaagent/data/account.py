"""What the import of somebody else's export took and what it left."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Account:
    """Counts of a reader that does not take everything; it fills while the reader is read.

    Attributes:
        taken: by kind.
        left: by reason.
    """

    taken: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
