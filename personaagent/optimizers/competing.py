"""Proposals of several kinds compete in a step; the LM is asked for the kinds that win with it.

Nobody says what an LM is good at. Each kind begins with a share of wins that is believed of it,
every candidate that replay judged moves it, and a step asks for the best kinds. What is believed is
strong only where it has been measured: with likelihoods counted directives win, and rewrites of
texts. An LM that tells its answer alone is believed to write better than it can be counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from personaagent.data import (
    Action,
    Choice,
    Directive,
    Persona,
    Task,
    Text,
    resolve,
    validation,
)
from personaagent.data.persona import net
from personaagent.errors import FormError
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.log import AlignmentLog, Candidate
from personaagent.optimizers.replay import Replayed
from personaagent.optimizers.thresholds import LEAST
from personaagent.optimizers.update import FullRewrite, ItemisedEdits, Proposal
from personaagent.programs import GradientWriter, PersonaRewriter
from personaagent.programs.rewriter import TOO_LONG, too_long
from personaagent.programs.tools import quote
from personaagent.signatures import Edit

Kind = Literal["directive", "edits", "rewrite"]
KINDS: tuple[Kind, ...] = ("directive", "edits", "rewrite")
CLOSE = 0.2  # of a share behind the best one: such a kind is tried beside it
AT_ONCE = 2  # kinds in a step
MOST_SEARCHED = 5  # words that a search adds to the query
# A rule for whoever answers, who cannot search any more.
_SEARCHING = re.compile(r"\s*(search|look up|look in|recall|retrieve)\b", re.IGNORECASE)
CONFIRMED = 6  # lessons that were answered right and are shown; all of them count


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a kind was judged, and how often it won."""

    won: float = 0.0
    judged: float = 0.0

    @property
    def share(self) -> float:
        """Of what was judged."""
        return self.won / self.judged

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.won + other.won, self.judged + other.judged)


Tallies = Mapping[Kind, Tally]


def believed(task: Task, *, likelihoods: bool) -> dict[Kind, Tally]:
    """What is believed of the kinds before any was judged; of equal shares the first one leads."""
    counted: Kind = "rewrite" if isinstance(task, Choice | Text) else "directive"
    if likelihoods:
        strong, weak = Tally(24, 28), Tally(1, 3)
        return {
            **({"directive": strong} if counted == "directive" else {}),
            "rewrite": strong if counted == "rewrite" else weak,
            "edits": Tally(2, 4),
        }
    written: dict[Kind, Tally] = {"edits": Tally(2, 3), "rewrite": Tally(1, 2)}
    return {"directive": Tally(1, 2), **written} if counted == "directive" else written


class Competing:
    """The kinds that win, side by side; the leading one first, so that a tie keeps it.

    Args:
        known: by kind, what is believed and what was judged before.
    """

    def __init__(self, known: Tallies) -> None:
        self.known = dict(known)
        self._updates: dict[Kind, Any] = {
            "directive": ItemisedEdits(),
            "edits": ProseEdits(),
            "rewrite": FullRewrite(),
        }

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Those that compete in the next step, the best first."""
        ranked = sorted(self.known, key=lambda kind: -self.known[kind].share)
        best = self.known[ranked[0]].share
        return tuple(one for one in ranked if best - self.known[one].share < CLOSE)

    @property
    def name(self) -> str:
        """Names the next step's work."""
        return "+".join(self.kinds)

    def criticism(self, task: Task, persona: Persona, one: Replayed, writer: GradientWriter) -> str:
        """A critique where edits in prose read it, else what a directive is made of."""
        past = one.interaction
        if "edits" in self.kinds:
            return writer.critique(task, persona, past, one.answer, one.found)
        return str(writer(task, past, one.answer).gradient)

    def propose(
        self, proposal: Proposal, rewriter: PersonaRewriter, memory: EpisodicMemory
    ) -> list[Persona]:
        """What the best kinds propose that propose anything."""
        if "edits" in self.kinds:
            proposal = replace(proposal, condensed=rewriter.condense(_texts(proposal)))
        found: list[Persona] = []
        proposing = 0
        for kind in self.kinds:
            seen = _alike(proposal) if kind == "directive" else proposal
            try:
                new = self._updates[kind].propose(seen, rewriter, memory)
            except FormError as error:  # an LM that cannot write this kind may write another
                rewriter.notes.append(f"{kind}: {error}")
                continue
            proposing += bool(new)
            found += [one for one in new if one not in found]
            if proposing == AT_ONCE:
                break
        return found

    def learn(self, champion: Persona, candidates: tuple[Candidate, ...], won: int | None) -> None:
        """Take what replay said of a step's candidates."""
        for kind, record in judged(champion, candidates, won).items():
            if kind in self.known:
                self.known[kind] += record


def kind_of(champion: Persona, candidate: Persona) -> Kind:
    """The kind of proposal that makes one of the other."""
    if (champion.profile, champion.whole) != (candidate.profile, candidate.whole):
        return "rewrite"
    before, after = (
        {(rule.cue, rule.text, rule.reach) for rule in one.directives}
        for one in (champion, candidate)
    )
    return "directive" if any(cue for cue, _, _ in before ^ after) else "edits"


def judged(
    champion: Persona, candidates: tuple[Candidate, ...], won: int | None
) -> dict[Kind, Tally]:
    """By kind how many of a step's candidates there were, and how many won: a kind counts once."""
    found: dict[Kind, Tally] = {}
    for at, one in enumerate(candidates):
        kind = kind_of(champion, one.persona)
        before = found.get(kind, Tally())
        found[kind] = Tally(max(before.won, float(at == won)), 1.0)
    return found


def of_log(log: AlignmentLog) -> dict[Kind, Tally]:
    """The same of a whole alignment."""
    champion, found = log.first, dict[Kind, Tally]()
    for step in log.steps:
        if step.iteration > 0:
            for kind, record in judged(champion, step.candidates, step.accepted).items():
                found[kind] = found.get(kind, Tally()) + record
        if step.accepted is not None:
            champion = step.candidates[step.accepted].persona
    return found


def _alike(proposal: Proposal) -> Proposal:
    """The same for those of the batch that the user answered like most: only they have a reason in
    common."""
    counts = Counter(one.interaction.response for one in proposal.batch)
    if len(counts) < 2:  # without waiting for the gradients
        return proposal
    most = counts.most_common(1)[0][0]
    alike = [at for at, one in enumerate(proposal.batch) if one.interaction.response == most]
    batch = [proposal.batch[at] for at in alike]
    gradients = [proposal.gradients[at] for at in alike]
    return replace(proposal, batch=batch, gradients=gradients)


def _texts(proposal: Proposal) -> list[str]:
    return [one.text for one in proposal.gradients]


class ProseEdits:
    """Itemised edits in prose, as one candidate: rules added, revised and dropped one at a time,
    each with the interactions that speak for it, and the words that a search of memory should add.

    Made for an LM that can criticize: where `ItemisedEdits` composes a rule around a word and
    counts whom it reaches, here the LM writes the rule and says which lessons speak for it. What it
    cannot show or keep within its limits is asked for once more, then left out with the reason.

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
        least = 1 if proposal.task.labels else LEAST  # two texts differ in much by chance
        taken, refused = sorted_out(edits, present, lessons, least)
        if refused:  # told once what is wrong with them
            edits = rewriter.edits(proposal.task, present, told, summary, refused)
            taken, refused = sorted_out(edits, present, lessons, least)
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
    edits: Sequence[Edit], persona: Persona, lessons: Sequence[Replayed], least: int = 1
) -> tuple[list[Edit], list[str]]:
    """The edits that can be taken, and what is wrong with the others; so many lessons at least must
    speak for a new rule."""
    taken: list[Edit] = []
    refused: list[str] = []
    touched: set[int] = set()
    for edit in edits:
        if problem := _problem(edit, len(persona.directives), len(lessons), touched, least):
            refused.append(problem)
            continue
        if edit.action in ("revise", "drop"):
            touched.add(edit.rule)
        taken.append(edit)
    return taken, refused


def _problem(edit: Edit, rules: int, lessons: int, touched: Collection[int], least: int) -> str:
    text = edit.text
    if edit.action in ("revise", "drop") and not 1 <= edit.rule <= rules:
        return f"There is no rule {edit.rule} to {edit.action}."
    if edit.action in ("revise", "drop") and edit.rule in touched:
        return f"Rule {edit.rule} is edited twice."
    if edit.action != "drop" and not text.strip():
        return f"An edit of the kind {edit.action} has no text."
    if edit.action == "search" and len(text.split()) > MOST_SEARCHED:
        return f"More than {MOST_SEARCHED} search words: {text}"
    if edit.action in ("add", "revise") and _SEARCHING.match(text):
        return f"What to search memory for is an edit of the kind search: {text}"
    if edit.action in ("add", "revise") and too_long(text):
        return TOO_LONG.format(text)
    named = {number for number in edit.because if 1 <= number <= lessons}
    if not named:
        return f"No lesson is named that speaks for it: {edit.action} {text}".rstrip()
    if edit.action == "add" and len(named) < least:
        return f"A new rule needs {least} lessons that speak for it, and names fewer: {text}"
    return ""


def _ids(edit: Edit, lessons: Sequence[Replayed]) -> tuple[str, ...]:
    named = [number for number in edit.because if 1 <= number <= len(lessons)]
    return tuple(dict.fromkeys(lessons[number - 1].interaction.id for number in named))
