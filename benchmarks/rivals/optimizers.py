"""The arms of the comparison: each optimizer with the settings that its authors would pick for so
small a budget, and ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dspy

from benchmarks.rivals.budget import spent
from benchmarks.rivals.gepa import metric_of
from benchmarks.rivals.job import Arm, Lesson, Product
from benchmarks.rivals.program import (
    Ledger,
    LedgerAdapter,
    Prompt,
    assistant,
    example,
    feedback,
    prompt_of,
    question,
    score,
)
from personaagent.data import FusionWeights, Interaction, Persona, Task
from personaagent.lm import PersonaLM
from personaagent.optimizers import (
    AlwaysAccept,
    FullRewrite,
    LatestBatch,
    PersonaAlignment,
    Step,
)
from personaagent.programs import PersonaAgent
from personaagent.programs.rewriter import REWRITE_TOKENS

BATCH = 8  # of SIMBA, whose 32 would use up a small budget in one step
CANDIDATES = 4  # of SIMBA, whose default is 6
STEP, LAST = 60, 160  # calls of one step of SIMBA with these, and of its last evaluation
STEPS = 8  # of SIMBA at most: its default


def _nothing(lesson: Lesson) -> Product:
    del lesson
    return None


def _start(lesson: Lesson) -> Product:
    return Prompt(lesson.start.render())


def _with_dspy(
    lesson: Lesson,
    learn: Callable[[dspy.Module, list[dspy.Example], list[dspy.Example]], dspy.Module],
    deciding: Sequence[Interaction],
    least: int,
) -> Product:
    """Run an optimizer of DSPy; while it runs, its best so far is the trail."""
    task = lesson.task
    truths = {question(task, one.query): one.response for one in lesson.past}
    by = {question(task, one.query) for one in deciding}
    ledger = Ledger(task, truths)
    sets = (lesson.writing, lesson.judging)
    writing, judging = ([example(task, one) for one in some] for some in sets)
    student = assistant(task, Prompt(lesson.start.render()))
    try:
        with dspy.context(adapter=LedgerAdapter(task, ledger)):
            return prompt_of(learn(student, writing, judging))
    finally:
        for calls in range(1, spent(lesson.lm) + 1):
            best = ledger.best(calls, by, min(least, len(by)))
            if best is not None and (not lesson.trail or lesson.trail[-1][1] != best):
                lesson.trail.append((calls, best))


def _gepa(lesson: Lesson) -> Product:
    optimizer = dspy.GEPA(
        metric=metric_of(lesson.task),
        max_metric_calls=10 * lesson.calls,  # cached answers are free: the ration is what ends it
        reflection_lm=_writer(lesson, temperature=1.0),
        num_threads=1,
        warn_on_score_mismatch=False,
        seed=lesson.seed,
    )
    return _with_dspy(
        lesson,
        lambda student, train, val: optimizer.compile(student, trainset=train, valset=val),
        lesson.judging,
        len(lesson.judging),
    )


def _mipro(lesson: Lesson) -> Product:
    optimizer = dspy.MIPROv2(
        metric=_plain(lesson),
        prompt_model=_writer(lesson),
        auto="light",
        max_bootstrapped_demos=0,
        max_labeled_demos=0,
        num_threads=1,
        metric_threshold=_threshold(lesson.task),
        seed=lesson.seed + 1,  # 0 would be its default
    )
    return _with_dspy(
        lesson,
        lambda student, train, val: optimizer.compile(student, trainset=train, valset=val),
        lesson.judging,
        len(lesson.judging),
    )


def _simba(lesson: Lesson) -> Product:
    size = min(BATCH, len(lesson.past))
    optimizer = dspy.SIMBA(
        metric=partial(_scored, lesson.task),
        prompt_model=_writer(lesson),
        bsize=size,
        num_candidates=CANDIDATES,
        max_steps=min(STEPS, max(1, (lesson.calls - LAST) // STEP)),
        num_threads=1,
    )
    return _with_dspy(
        lesson,
        lambda student, train, val: optimizer.compile(
            student, trainset=[*train, *val], seed=lesson.seed
        ),
        lesson.past,
        size,
    )


def _bootstrap(lesson: Lesson) -> Product:
    optimizer = dspy.BootstrapFewShot(
        metric=_plain(lesson), metric_threshold=_threshold(lesson.task)
    )
    return _with_dspy(
        lesson,
        lambda student, train, val: optimizer.compile(student, trainset=[*train, *val]),
        lesson.judging,
        len(lesson.judging),
    )


def _textgrad(lesson: Lesson) -> Product:
    batch = 4
    alignment = PersonaAlignment(
        iterations=lesson.calls,  # the ration is what ends it
        batch=batch,
        replay=0,
        reach=batch,
        sampler=LatestBatch(),
        update=FullRewrite(),
        acceptance=AlwaysAccept(),
        policies=((),),
        seed=lesson.seed,
        report=partial(_follow, lesson, lambda persona: persona),
    )
    return _aligned(lesson, alignment, valset=None)


def _alignment(lesson: Lesson) -> Product:
    alignment = PersonaAlignment(
        policies=((),), seed=lesson.seed, report=partial(_follow, lesson, _alone)
    )
    return _alone(_aligned(lesson, alignment, valset=lesson.judging))


def _agent(lesson: Lesson) -> Product:
    report = partial(_follow, lesson, lambda persona: persona)
    alignment = PersonaAlignment(seed=lesson.seed, report=report)
    return _aligned(lesson, alignment, valset=lesson.judging)


def _aligned(
    lesson: Lesson, alignment: PersonaAlignment, *, valset: Sequence[Interaction] | None
) -> Persona:
    student = PersonaAgent(lesson.task, lesson.memory, persona=replace(lesson.start, actions=()))
    compiled = alignment.compile(student, trainset=lesson.past, valset=valset)
    last: Persona = compiled.alignment.last
    return last


def _alone(persona: Persona) -> Persona:
    """The persona without what other arms have not: standing actions and the user's habit."""
    return replace(persona, trust=FusionWeights(), actions=())


def _follow(lesson: Lesson, served: Callable[[Persona], Persona], step: Step) -> None:
    if step.accepted is not None:
        persona = step.candidates[step.accepted].persona
        lesson.trail.append((spent(lesson.lm), served(persona)))


def _writer(lesson: Lesson, **settings: Any) -> PersonaLM:
    """The LM for what an optimizer writes: as long as our own rewrites, or a small LM rambles."""
    lm: PersonaLM = lesson.lm.copy(max_tokens=REWRITE_TOKENS, **settings)
    return lm


def _plain(lesson: Lesson) -> Callable[..., float]:
    return lambda gold, said, _trace=None: score(lesson.task, gold, said)


def _scored(task: Task, gold: dspy.Example, said: dspy.Prediction) -> dspy.Prediction:
    return feedback(task, gold, said)


def _threshold(task: Task) -> float | None:
    """A bootstrapped demo must be right; a text need only share something with the user's."""
    return 1.0 if task.labels else None


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(
            "non-personalized",
            "the task's question alone; nothing is optimized",
            _nothing,
            profile=False,
            optimizes=False,
        ),
        Arm(
            "profile",
            "the persona that all others start from; nothing is optimized",
            _start,
            optimizes=False,
        ),
        Arm(
            "bootstrap-few-shot",
            "dspy.BootstrapFewShot with its defaults: up to 4 bootstrapped and 16 labeled demos",
            _bootstrap,
        ),
        Arm(
            "mipro-v2",
            "dspy.MIPROv2, auto='light', zero-shot: instructions only",
            _mipro,
        ),
        Arm(
            "simba",
            f"dspy.SIMBA with batches of {BATCH} and {CANDIDATES} candidates a step (defaults 32 "
            "and 6 would not end one step), as many steps as the budget allows",
            _simba,
        ),
        Arm(
            "gepa",
            "dspy.GEPA with its defaults; the task's score, and in words what the user answered",
            _gepa,
        ),
        Arm(
            "textgrad-style",
            "TextGrad's update by our own parts: gradients on the latest batch, a full rewrite, "
            "always accepted (FullRewrite, LatestBatch, AlwaysAccept)",
            _textgrad,
        ),
        Arm(
            "persona-alignment",
            "PersonaAlignment with its defaults; the persona alone, without actions and habit",
            _alignment,
            ours=True,
        ),
        Arm(
            "personaagent",
            "the same as it is served: with standing actions and the trust in the user's habit",
            _agent,
            ours=True,
        ),
    )
}
"""In the order of a table."""
