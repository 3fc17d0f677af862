"""What is shown of a step."""

from io import StringIO

import pytest
from rich.console import Console

from personaagent.cli.progress import Display
from personaagent.data import Directive, Persona
from personaagent.lm.meter import Meter
from personaagent.optimizers.log import Candidate, Step

OLD = Directive("If it mentions dog, answer work.", "dog", 0.3)


@pytest.fixture
def shown():
    """Shows a step from a champion to a candidate, and gives back what was printed."""

    def show(champion: Persona, *candidates: Persona, accepted: int | None = 0) -> str:
        out = StringIO()
        display = Display(Console(file=out, width=120), Meter(), 2, champion)
        made = tuple(Candidate(one, 0.5, 0.5, 1, "because") for one in candidates)
        display.step(Step(0, ("a",), (), made, accepted, 0.5, 0.5))
        return out.getvalue()

    return show


def test_what_a_candidate_adds_drops_and_moves_is_shown(shown):
    champion = Persona("ann", "inbox", directives=(OLD, Directive("Gone.")))
    moved = Directive(OLD.text, OLD.cue, 0.45, ("i1",))
    said = shown(champion, Persona("ann", "inbox", directives=(moved, Directive("New."))))
    assert "+ New." in said
    assert "- Gone." in said
    assert "~ If it mentions dog, answer work. reach 0.3 to 0.45" in said


def test_more_evidence_alone_is_no_change_of_what_is_told(shown):
    champion = Persona("ann", "inbox", directives=(OLD,))
    backed = Directive(OLD.text, OLD.cue, OLD.reach, ("i1", "i2"))
    assert "~" not in shown(champion, Persona("ann", "inbox", directives=(backed,)))


def test_an_iteration_that_had_nothing_to_learn_from_is_shown_in_its_turn():
    out = StringIO()
    display = Display(Console(file=out, width=120), Meter(), 3, None)
    display.step(Step(1, ("a",), (), (), None, 0.5, 0.5))
    display.step(Step(2, (), (), (), None, 0.5, 0.5))
    assert out.getvalue().splitlines() == [
        "iteration 1 of 3: no candidate, loss 0.500, score 50%",
        "iteration 2 of 3: nothing to learn from, loss 0.500, score 50%",
    ]
