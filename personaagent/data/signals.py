"""Implicit signals as the weight of an interaction.

An answer that the user gave in so many words counts 1. What is only inferred from behaviour counts
less, never more:

| signal | what it says | factor |
|---|---|---|
| `click` | true: chosen; false: shown and not chosen otherwise | 1; 0.5 |
| `dwell` | seconds that the user stayed with it | 0.25 at 0 s, 1 from 60 s on, log between |
| `skip` | true: passed over; false: not | 0.1; 1 |
| `edit` | how much of a proposed answer the user changed, 0 to 1 | 0.5 at 0, 1 at 1, linear |

A proposal that was kept as it was (`edit` 0) may only have been convenient; what the user rewrote
is the user's own. The factors multiply; the product stays within [0.1, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST, MOST = 0.1, 1.0
SHOWN = 0.5  # not clicked
UNREAD = 0.25  # left at once
READ = 60.0  # seconds after which staying longer says nothing more
KEPT = 0.5  # a proposal taken over unchanged


@dataclass(frozen=True, slots=True)
class Signal:
    """What was seen of the user's behaviour; None is not observed.

    `dwell` is in seconds and not negative, `edit` a normalised edit distance in [0, 1].
    """

    click: bool | None = None
    dwell: float | None = None
    skip: bool | None = None
    edit: float | None = None

    @property
    def weight(self) -> float:
        """How much the interaction counts, in [0.1, 1]; 1 without any signal."""
        product = 1.0
        if self.click is False:
            product *= SHOWN
        if self.dwell is not None:
            stayed = min(1.0, math.log1p(self.dwell) / math.log1p(READ))
            product *= UNREAD + (1 - UNREAD) * stayed
        if self.skip:
            product *= LEAST
        if self.edit is not None:
            product *= KEPT + (1 - KEPT) * self.edit
        return min(MOST, max(LEAST, product))
