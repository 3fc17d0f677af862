"""Itemised edits in prose: rules added, revised and dropped one at a time, each with the
interactions that speak for it, and the words that a search of memory should add.

Made for an LM that can criticize: where `ItemisedEdits` composes a rule around a word and counts
whom it reaches, here the LM writes the rule and says which lessons speak for it. What it cannot
show or keep within its limits is asked for once more, then left out with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from personaagent.data import Action, Directive, Persona, resolve, validation
from personaagent.data.persona import net
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.replay import Replayed
from personaagent.optimizers.update import Proposal
from personaagent.programs import PersonaRewriter
from personaagent.programs.rewriter import TOO_LONG, too_long
from personaagent.programs.tools import quote
from personaagent.signatures import Edit

MOST_SEARCHED = 5  # words that a search adds to the query
CONFIRMED = 6  # lessons that were answered right and are shown; all of them count


class ProseEdits:
    """The edits that an LM makes of a persona, as one candidate.

    Args:
        cap: how many rules a persona has at most; the least supported goes.
    """

    def __init__(self, *, cap: int = 12) -> None:
        validation.whole("cap", cap, 1)
        self.cap = cap

    def propose(
        self, proposal: Proposal, rewriter: PersonaRewriter, memory: EpisodicMemory
    ) -> list[Persona]:
        """The champion with all edits that can be taken; nothing where there are none."""
        del memory
        confirmed = answered_right(proposal)
        lessons = [*proposal.batch, *confirmed[-CONFIRMED:]]
        told = [
            f'"{quote(one.interaction.query)}": the assistant answered {quote(one.answer)}, the '
            f"user {quote(one.interaction.response)}"
            for one in lessons
        ]
        summary = proposal.summary(rewriter)
        present = confirm(proposal.persona, [one.interaction.id for one in confirmed])
        edits = rewriter.edits(proposal.task, present, told, summary)
        taken, refused = sorted_out(edits, present, lessons)
        if refused:  # told once what is wrong with them
            edits = rewriter.edits(proposal.task, present, told, summary, refused)
            taken, refused = sorted_out(edits, present, lessons)
            rewriter.notes += refused
        if not taken:
            return []
        order = [one.id for one in proposal.writing]
        edited = self._edited(present, taken, lessons, order)
        said = [
            (one.actions, [(rule.cue, rule.text) for rule in one.directives])
            for one in (present, edited)
        ]
        return [] if said[0] == said[1] else [edited]

    def _edited(
        self,
        persona: Persona,
        edits: Sequence[Edit],
        lessons: Sequence[Replayed],
        order: Sequence[str],
    ) -> Persona:
        rules: list[Directive | None] = list(persona.directives)
        actions = persona.actions
        for edit in edits:
            text = " ".join(edit.text.split())
            support = _ids(edit, lessons)
            if edit.action == "search":
                actions = (Action("recall", {"beside": text}),)
            elif edit.action == "add":
                rules.append(Directive(text, support=support))
            elif old := rules[edit.rule - 1]:
                if edit.action == "revise":
                    both = tuple(dict.fromkeys([*old.support, *support]))
                    rules[edit.rule - 1] = replace(old, text=text, cue="", support=both)
                else:
                    against = tuple(dict.fromkeys([*old.oppose, *support]))
                    weighed = replace(old, oppose=against)
                    # What still has evidence stays, with what speaks against it.
                    rules[edit.rule - 1] = weighed if net(weighed) > 0 else None
        kept = resolve([one for one in rules if one], cap=self.cap, order=order)
        return persona.succeed(directives=kept, actions=actions)


def answered_right(proposal: Proposal) -> list[Replayed]:
    """What was simulated and is no lesson for a change: the user answered the same."""
    wrong = {one.interaction.id for one in proposal.batch}
    return [
        one
        for one in proposal.replayed
        if one.interaction.id not in wrong and one.answer == one.interaction.response
    ]


def confirm(persona: Persona, right: Sequence[str]) -> Persona:
    """The persona whose standing rules, which applied to all of these, have them as support."""
    rules = tuple(
        one if one.cue else replace(one, support=tuple(dict.fromkeys([*one.support, *right])))
        for one in persona.directives
    )
    return replace(persona, directives=rules) if rules != persona.directives else persona


def sorted_out(
    edits: Sequence[Edit], persona: Persona, lessons: Sequence[Replayed]
) -> tuple[list[Edit], list[str]]:
    """The edits that can be taken, and what is wrong with the others."""
    taken: list[Edit] = []
    refused: list[str] = []
    touched: set[int] = set()
    for edit in edits:
        if problem := _problem(edit, len(persona.directives), len(lessons), touched):
            refused.append(problem)
            continue
        if edit.action in ("revise", "drop"):
            touched.add(edit.rule)
        taken.append(edit)
    return taken, refused


def _problem(edit: Edit, rules: int, lessons: int, touched: Collection[int]) -> str:
    text = edit.text
    if edit.action in ("revise", "drop") and not 1 <= edit.rule <= rules:
        return f"There is no rule {edit.rule} to {edit.action}."
    if edit.action in ("revise", "drop") and edit.rule in touched:
        return f"Rule {edit.rule} is edited twice."
    if edit.action != "drop" and not text.strip():
        return f"An edit of the kind {edit.action} has no text."
    if edit.action == "search" and len(text.split()) > MOST_SEARCHED:
        return f"More than {MOST_SEARCHED} search words: {text}"
    if edit.action in ("add", "revise") and too_long(text):
        return TOO_LONG.format(text)
    if not any(1 <= number <= lessons for number in edit.because):
        return f"No lesson is named that speaks for it: {edit.action} {text}".rstrip()
    return ""


def _ids(edit: Edit, lessons: Sequence[Replayed]) -> tuple[str, ...]:
    named = [number for number in edit.because if 1 <= number <= len(lessons)]
    return tuple(dict.fromkeys(lessons[number - 1].interaction.id for number in named))
