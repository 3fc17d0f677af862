"""Itemised edits over a persona's life: revised, dropped, under the cap, and no collapse."""

import random
from dataclasses import replace

import dspy
import pytest
from rulebook import stand_in
from worlds_of_mail import FILLERS, HABITS, INBOX, book, habitual, mail, remembering

from personaagent.data import Directive, Persona
from personaagent.optimizers import Gradient, ItemisedEdits, Replay, Replayed
from personaagent.optimizers.thresholds import Reaching
from personaagent.optimizers.update import Proposal
from personaagent.optimizers.worklog import MemoryWorkLog
from personaagent.programs import PersonaAgent, PersonaRewriter
from personaagent.programs.directive_matching import fit


class Named(PersonaRewriter):
    def __init__(self, cue=""):
        super().__init__()
        self.named = cue

    def cue(self, interactions):
        return self.named


def replayed(n, loss, response, query):
    return Replayed(mail(n, query, response), "work", None, None, loss, 0.0, True)


def asked(past):
    return [one.interaction for one in past]


def reaching(memory, past, *unknown):
    """With interactions that were not replayed before those that were."""
    return Reaching(INBOX, [*unknown, *asked(past)], past, memory)


def propose(memory, past, *directives, cue="", **options):
    critiques = [Gradient(one.interaction.id, "", "", "") for one in past[:2]]
    persona = Persona("ann", "inbox", directives=directives)
    proposal = Proposal(INBOX, persona, past[:2], critiques, asked(past), past)
    return [
        one.directives
        for one in ItemisedEdits(**options).propose(proposal, Named(cue), memory)
    ]  # fmt: skip


def rule(cue, answer, reach, support=(), oppose=()):
    text = f"If the message mentions {cue}, answer {answer}."
    return Directive(text, cue, reach, tuple(support), tuple(oppose))


DOGS = [replayed(n, 0.1, "travel", f"dinner dog {FILLERS[n]}") for n in range(4)]
NEWS = [replayed(10 + n, 3.0, "family", f"dog {FILLERS[n]}") for n in range(6)]


def reach_of(memory, *past):
    """Just wide enough for all of these."""
    return min(fit(memory, "dog", one.interaction.query) for one in past) - 1e-3


def test_what_was_not_simulated_speaks_against_a_directive_but_promises_nothing_for_it(memory):
    alike = [mail(20 + n, f"dog {FILLERS[n]}", "family") for n in range(3)]
    other = [mail(30 + n, f"dog {FILLERS[n]}", "work") for n in range(3)]
    alone = reaching(memory, NEWS).fit("dog", "family")
    more = reaching(memory, NEWS, *alike).fit("dog", "family")
    less = reaching(memory, NEWS, *alike, *other).fit("dog", "family")
    assert more.gain == pytest.approx(alone.gain)
    assert set(more.directive.support) == {*alone.directive.support, *(one.id for one in alike)}
    assert less.directive.oppose
    assert less.gain <= more.gain
    assert reaching(memory, [], *alike).fit("dog", "family").gain == 0


def test_a_directive_reaches_no_further_than_three_fifths_agree_with_it(memory):
    """However wrong the LM was by itself where the user answered otherwise."""
    near = [replayed(20 + n, 3.0, "family", f"dog {FILLERS[n]}") for n in range(4)]
    far = [replayed(30 + n, 9.0, "work", f"dinner dog {FILLERS[n]} flight") for n in range(4)]
    fitted = reaching(memory, [*near, *far]).fit("dog", "family")
    assert set(fitted.directive.support) == {one.interaction.id for one in near}
    assert fitted.directive.oppose == ()
    mixed = [near[0], near[1], far[0]]
    tie = [replace(one, interaction=replace(one.interaction, query="dog")) for one in mixed]
    assert reaching(memory, tie).fit("dog", "family").gain > 0  # two of three
    even = [*tie, replace(tie[2], interaction=replace(far[1].interaction, query="dog"))]
    assert reaching(memory, even).fit("dog", "family").gain == 0


def test_of_equal_promises_the_widest_reach_is_taken(memory):
    near = [mail(20 + n, f"dog {FILLERS[n]}", "family") for n in range(2)]
    far = [mail(30 + n, f"dinner meeting dog {FILLERS[n]}", "family") for n in range(3)]
    simulated = NEWS[:2]
    fitted = reaching(memory, simulated, *near, *far).fit("dog", "family")
    assert {one.id for one in far} <= set(fitted.directive.support)
    assert fitted.gain == pytest.approx(reaching(memory, simulated).fit("dog", "family").gain)


def test_evidence_is_renewed_from_what_a_directive_reaches_now(memory):
    old = rule("dog", "travel", reach_of(memory, *DOGS, *NEWS), ("ann-0", "ann-12", "before"), ())
    now = reaching(memory, [*DOGS, *NEWS]).renewed(old)
    assert set(now.support) == {"before", "ann-0", "ann-1", "ann-2", "ann-3"}
    assert set(now.oppose) == {f"ann-{10 + n}" for n in range(6)}
    assert replace(now, support=(), oppose=()) == replace(old, support=(), oppose=())
    for unknown in (Directive("Standing rule."), Directive("Own words.", "dog", 0.1)):
        assert reaching(memory, DOGS).renewed(unknown) == unknown


def test_a_directive_that_newer_interactions_speak_against_is_proposed_for_dropping(memory):
    old = rule("dog", "travel", reach_of(memory, *DOGS, *NEWS), ["ann-0"])
    kept = rule("car", "family", 0.9)
    assert (kept,) in propose(memory, [*DOGS, *NEWS], old, kept)
    assert (kept,) not in propose(memory, [*DOGS, *NEWS[:3]], old, kept)


def test_a_directive_is_proposed_with_the_reach_that_newer_interactions_ask_for(memory):
    far = replayed(30, 3.0, "family", "flight meeting dog amber birch cedar")
    wide = rule("dog", "travel", reach_of(memory, *DOGS, far), [f"ann-{n}" for n in range(4)])
    ((revised,),) = propose(memory, [*DOGS, far], wide)
    assert (revised.cue, revised.text) == ("dog", wide.text)
    assert revised.reach > wide.reach
    assert (set(revised.support), revised.oppose) == (set(wide.support), ())


def test_without_news_about_a_directive_nothing_is_revised(memory):
    known = reaching(memory, DOGS)
    assert propose(memory, DOGS, known.renewed(rule("dog", "travel", 0.2))) == []


def test_a_better_supported_answer_to_a_cue_takes_the_place_of_the_other(memory):
    old = rule("dog", "travel", reach_of(memory, *NEWS), ["x"])
    first, *_ = propose(memory, NEWS, old, cue="dog")
    assert [one.text for one in first] == ["If the message mentions dog, answer family."]
    strong = replace(old, support=tuple("abcdefghijklmnop"))
    said = [
        {one.text for one in directives} for directives in propose(memory, NEWS, strong, cue="dog")
    ]
    assert {"If the message mentions dog, answer family."} not in said


def test_over_the_cap_the_least_supported_makes_room(memory):
    weak, strong = rule("car", "work", 0.99, "a"), rule("cat", "work", 0.99, "abc")
    first, *_ = propose(memory, NEWS, weak, strong, cue="dog", cap=2)
    assert [one.cue for one in first] == ["cat", "dog"]
    assert propose(memory, NEWS, strong, cue="dog", cap=1)[0][0].cue == "dog"  # six for it
    mighty = replace(strong, support=tuple("abcdefghij"))
    assert propose(memory, NEWS, mighty, cue="dog", cap=1) == []


@pytest.mark.parametrize("seed", range(3))
def test_fifty_updates_that_all_are_accepted_do_not_make_a_persona_collapse(tmp_path, seed):
    """The first proposal is always taken; cues are at random, two of eight the user's habits."""
    dice = random.Random(seed)
    history = habitual(count=60, seed=seed)
    updater = ItemisedEdits(cap=6)
    persona, lengths = Persona("ann", "inbox", actions=()), []
    with remembering(tmp_path, *history) as memory, dspy.context(lm=stand_in(book())):
        agent = PersonaAgent(INBOX, memory)
        replay = Replay(agent, MemoryWorkLog())
        for number in range(50):
            past = replay(persona, history[: 20 + number][-40:])
            cue = dice.choice(["dog", "car", *FILLERS[:6]])
            label = HABITS[cue][0] if cue in HABITS else dice.choice(INBOX.labels)
            batch = [one for one in past if one.interaction.response == label][:3]
            critiques = [
                Gradient(one.interaction.id, "", "", dice.choice(FILLERS)) for one in batch
            ]
            proposal = Proposal(INBOX, persona, batch, critiques, asked(past), past)
            proposed = updater.propose(proposal, Named(cue), memory)
            persona = proposed[0] if proposed else persona
            lengths.append(len(persona.directives))
        right = [one.answer == one.interaction.response for one in replay(persona, history)]
    assert max(lengths) <= 6
    assert persona.version > 8
    habits = {(one.cue, one.text.split()[-1]) for one in persona.directives}
    assert habits >= {("dog", "travel."), ("car", "family.")}
    assert sum(right) / len(right) > 0.8  # in spite of all that chance put in


def test_a_rule_that_too_many_speak_against_is_narrowed_or_dropped(memory):
    near = [replayed(20 + n, 0.2, "family", f"dog {FILLERS[n]}") for n in range(4)]
    far = [replayed(30 + n, 3.0, "work", f"dinner dog {FILLERS[n]} flight") for n in range(4)]
    wide = rule("dog", "family", reach_of(memory, *near, *far), ["ann-20"])
    narrowed = reaching(memory, [*near, *far]).mended(wide)
    assert narrowed.reach > wide.reach
    assert set(narrowed.support) == {one.interaction.id for one in near}
    assert narrowed.oppose == ()
    assert reaching(memory, [*near, *far[:2]]).mended(wide) == wide  # two thirds agree
    same = [
        replace(one, interaction=replace(one.interaction, query="dog")) for one in [*near, *far]
    ]
    assert reaching(memory, same).mended(wide) is None  # no reach tells them apart
    own, unheard = Directive("Own words.", "dog", 0.1), rule("ferry", "family", 0.99)
    assert reaching(memory, same).mended(own) == own
    assert reaching(memory, same).mended(unheard) == unheard  # nothing speaks against it
