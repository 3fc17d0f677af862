"""GEPA with PersonaAgent's acceptance: python examples/gepa_acceptance.py

GEPA accepts a prompt by the very examples that wrote it. Here a candidate must win its bets on
judges that wrote none: the same test, valid whenever one looks, by which PersonaAgent decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from personaagent.optimizers import BETS
from personaagent.optimizers.evidence import ALPHA, e_value

Score = Callable[[dict[str, str], Any], float]


class WonOnJudges:
    """A GEPA `acceptance_criterion`: the candidate against its parent on examples held out.

    Args:
        score: of a candidate on an example, from 0 to 1.
        judges: examples that GEPA's trainset does not have.
    """

    def __init__(self, score: Score, judges: Sequence[Any]) -> None:
        self.score = score
        self.judges = judges

    def should_accept(self, proposal: Any, state: Any) -> bool:
        """Whether the evidence for the candidate suffices."""
        parent = state.program_candidates[proposal.parent_program_ids[0]]
        saved = [
            self.score(proposal.candidate, one) - self.score(parent, one) for one in self.judges
        ]
        return e_value(saved, BETS["rewrite"]) >= 1 / ALPHA


def optimize(
    persona: str, examples: Sequence[Any], score: Score, write: Callable[[str], str], calls: int
) -> str:
    """The best persona that GEPA finds in so many scores; every second example judges."""
    from gepa import optimize as gepa
    from gepa.core.adapter import EvaluationBatch

    class Adapter:
        propose_new_texts = None

        def evaluate(self, batch: Any, candidate: Any, capture_traces: bool = False) -> Any:
            del capture_traces
            scores = [score(candidate, one) for one in batch]
            return EvaluationBatch(
                outputs=list(scores), scores=scores, trajectories=list(batch), objective_scores=None
            )

        def make_reflective_dataset(self, candidate: Any, found: Any, names: list[str]) -> Any:
            del candidate
            told = [
                {"Inputs": str(one), "Feedback": f"score {value}"}
                for one, value in zip(found.trajectories, found.scores, strict=True)
            ]
            return dict.fromkeys(names, told)

    writing, judging = list(examples[::2]), list(examples[1::2])
    found = gepa(
        seed_candidate={"persona": persona},
        trainset=writing,
        valset=writing,
        adapter=Adapter(),
        reflection_lm=write,
        acceptance_criterion=WonOnJudges(score, judging),
        max_metric_calls=calls,
    )
    return str(found.best_candidate["persona"])


def main() -> None:
    """A toy: a message is scored by whether the persona names its folder."""
    messages = [("dog", "travel"), ("vet", "travel"), ("leash", "travel"), ("bone", "travel")] * 3

    def score(candidate: dict[str, str], example: tuple[str, str]) -> float:
        return float(example[1] in candidate["persona"])

    learned = optimize("Be kind.", messages, score, lambda _: "```\nDogs are travel.\n```", 60)
    print(learned)


if __name__ == "__main__":
    main()
