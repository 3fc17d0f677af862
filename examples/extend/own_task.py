"""A task of your own: one class says how an answer is read and judged."""

from dataclasses import dataclass

from personaagent import Rating


@dataclass(frozen=True)
class Urgency(Rating):
    """1 to 5; to call something urgent too low is worse than to call it too high."""

    def score(self, answer: str, gold: str) -> float:
        missed = int(gold) - int(answer)
        return 1 - min(1.0, abs(missed) * (0.4 if missed > 0 else 0.2))


urgency = Urgency("urgency", "How urgent is this message for me?", item="message", answer="urgency")
