"""Which directives of a persona speak to a query: those without a cue, and those whose cue fits.

A small LM that sees every rule applies one of them to every query; shown only what fits, it follows
it. The gate is a cosine, so it costs no LM call.
"""

from __future__ import annotations

from personaagent.data import Directive, Persona
from personaagent.memory import EpisodicMemory


def fit(memory: EpisodicMemory, cue: str, query: str) -> float:
    """The cosine between a cue and a query, in [-1, 1]."""
    return float(memory.embed(cue) @ memory.embed(query))


def consult(memory: EpisodicMemory, persona: Persona, query: str) -> list[Directive]:
    """The directives with a cue that fits the query, the best fit first."""
    fitting = [
        (fit(memory, directive.cue, query), directive)
        for directive in persona.directives
        if directive.cue
    ]
    fitting = [(value, directive) for value, directive in fitting if value >= directive.reach]
    return [one for _, one in sorted(fitting, key=lambda pair: pair[0], reverse=True)]
