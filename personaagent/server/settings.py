"""How a server is run: its limits, who may call it from a browser, how long it keeps answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Settings:
    """What `personaagent serve` is told.

    Attributes:
        body: bytes that a request may have.
        rate: requests a minute of one key, or of one address where there are no keys; 0 is no
            limit.
        origins: web origins whose pages may call the API (CORS); none by default.
        patience: seconds in which a client must have sent its request.
        answering: answers that are worked on side by side; further ones wait.
        keep_answers: how long an answer can be given feedback on.
    """

    body: int = 2_000_000
    rate: int = 1_200
    origins: tuple[str, ...] = ()
    patience: float = 30.0
    answering: int = 64
    keep_answers: timedelta = timedelta(days=30)
