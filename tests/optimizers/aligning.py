"""Aligns in the tests' world, with an LM that follows rules."""

import dspy
from rulebook import stand_in
from worlds_of_mail import book

from personaagent.optimizers import PersonaAlignment

RULES = [
    "If the message mentions dog, answer travel.",
    "If the message mentions car, answer family.",
]


def align(agent, history, rules=None, *, lm=None, valset=None, **options):
    lm = lm or stand_in(rules or book())
    with dspy.context(lm=lm):
        return PersonaAlignment(**options).compile(agent, trainset=history, valset=valset).alignment


def content(log):
    """All of a log that is not time or money, nor the name of the stand-in."""
    said = {key: value for key, value in log.to_dict().items() if key != "usage"}
    settings = said["settings"].items()
    return said | {"settings": {name: one for name, one in settings if "lm" not in name}}
