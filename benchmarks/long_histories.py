"""What is a persona worth to a user with a long history? Arms answer the same later questions.

Personas are learned from the histories as `personaagent compile` learns them, ours and, in a
database of its own, the paper's. Then the users' later questions are answered with nothing of the
user, with similar or the latest memories, and under the personas before and after alignment. Where
an alignment accepted several updates, the personas in between answer, too: so each accepted update
is judged by what came later.

    python -m benchmarks.long_histories --data FOLDER --out FOLDER --learn ours --writer LM
    python -m benchmarks.long_histories --data FOLDER --out FOLDER --learn pag --writer LM
    python -m benchmarks.long_histories --data FOLDER --out FOLDER --learn gepa --writer LM
    python -m benchmarks.long_histories --data FOLDER --out FOLDER --arms all --answerer LM
    python -m benchmarks.long_histories --out FOLDER         the table again, from what was kept

FOLDER of the data has history.jsonl, queries.jsonl (or .jsonl.gz) and tasks.json, as `personaagent
evaluate` takes them; instead of it `--lamp TASK --questions FILE --outputs FILE`. Answers are kept
by the id of a question without its text, what was learned by user as numbers; personas and answers
in words are in files of their own. A run that was stopped goes on. With several addresses of an
answerer the arms of one question go to different ones, so that whoever answers one has not read
another.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import dspy
import numpy as np

from benchmarks.kept import Kept, OverUsers
from benchmarks.long_arms import (
    AFTER,
    ARMS,
    BEFORE,
    COUNTED,
    FLOORS,
    RIVAL,
    Arms,
    said,
)
from benchmarks.rivals.gepa import gepa
from personaagent import EpisodicMemory, PersonaAgentError, SentenceEmbedder, Store, connect
from personaagent.data import Interaction, Persona, Task, read_tasks
from personaagent.data.lamp_tasks import LAMP_TASKS
from personaagent.experiments.baselines import PAG
from personaagent.experiments.cohort import (
    Cohort,
    EvaluationData,
    Sample,
    lamp_data,
    own_data,
    ranked,
)
from personaagent.experiments.metrics import metrics, metrics_of
from personaagent.lm import PersonaLM
from personaagent.optimizers import AlignmentLog, Setting
from personaagent.optimizers.competing import kind_of
from personaagent.optimizers.log import BARE, LONGER, STYLE, WITHOUT
from personaagent.optimizers.log import MEMORIES as RECALLED
from personaagent.optimizers.prequential import JUDGES
from personaagent.optimizers.setting import PAPER
from personaagent.programs import QueryScope
from personaagent.service import Trainer

SETTINGS = {"ours": Setting(), "paper": PAPER}
GEPA_PAST = 40  # of the latest interactions, as in benchmarks.optimizers
RIVALS = ("rag, k=16", "rag, k=4")
OTHERS = {
    BARE: "no profile", LONGER: "longer profile", STYLE: "style", RECALLED: "memories",
    WITHOUT: "no persona",
}  # fmt: skip
TITLES = {
    "accuracy": "accuracy",
    "mae": "mean absolute error",
    "rouge_l": "ROUGE-L",
    "rouge_1": "ROUGE-1",
}


def read(given: argparse.Namespace) -> EvaluationData:
    """The data of the options."""
    if given.lamp:
        return lamp_data(LAMP_TASKS[given.lamp], given.questions, given.outputs)
    tasks = read_tasks(given.data / "tasks.json")
    (task,) = tasks.values()
    history, queries = (next(given.data.glob(f"{one}.jsonl*")) for one in ("history", "queries"))
    return own_data(task, history, queries, tasks)


def drawn(data: EvaluationData, given: argparse.Namespace) -> list[Sample]:
    """Some questions of some users of one half."""
    half = None if given.half == "all" else given.half
    cohort = Cohort(half=half, users=given.users, seed=given.seed)
    chosen, asked = cohort.choose(data.samples), []
    for owner in dict.fromkeys(one.owner for one in chosen):
        mine = {one.query.id: one for one in chosen if one.owner == owner}
        asked += [mine[id] for id in ranked(mine, given.seed)[: given.per_user]]
    return asked


def remember(memory: EpisodicMemory, data: EvaluationData, asked: Sequence[Sample]) -> None:
    """Import what was before each user's first question."""
    questions, cutoffs = {one.query.id for one in data.samples}, data.cutoffs
    known: dict[tuple[str, str], Interaction] = {}
    for one in data.histories({one.owner for one in asked}):
        cutoff = cutoffs.get(one.user)
        early = cutoff is None or one.time is None or one.time < cutoff
        if early and one.id not in questions:
            known.setdefault((one.user, one.id), one)
    memory.add(list(known.values()), tasks={data.task.name: data.task})


def learn(way: str, memory: EpisodicMemory, task: Task, users: Iterable[str], lm: PersonaLM,
          learned: Kept, personas: Kept) -> None:  # fmt: skip
    """Everybody's persona in one way; what it took, and the personas on the way to it."""
    trainer = Trainer(memory, lm, SETTINGS[way])

    def one(user: str) -> None:
        try:
            log = trainer.train(user, task).log
        except PersonaAgentError as error:
            print(f"{way}: {user}: {error}", flush=True)
            return
        chain, updates = chain_of(log)
        used = log.usage
        personas.add({"arm": way, "id": user, "chain": [each.to_dict() for each in chain]})
        learned.add({
            "arm": way, "id": user, "calls": int(used["calls"]),
            "tokens": int(used["input_tokens"] + used["output_tokens"]), "updates": updates,
            "steps": [[step.iteration, [round(each.loss, 3) for each in step.candidates],
                       step.accepted, round(step.loss, 3)] for step in log.steps],
            "first": [round(log.first_loss, 3), len(log.first.render().split())],
            "last": [round(log.last_loss, 3), len(log.last.render().split())],
            "stopped": log.stopped,
        })  # fmt: skip
        print(f"{way}: {user}: {int(used['calls'])} calls, {updates}, {log.stopped}", flush=True)

    at_once(one, [user for user in users if (way, user) not in learned.rows])


def learn_by_gepa(memory: EpisodicMemory, task: Task, users: Iterable[str], lm: PersonaLM,
                  learned: Kept, personas: Kept) -> None:  # fmt: skip
    """Everybody's persona by GEPA: from the first one of ours, with as many answers judged as ours
    took calls."""

    def one(user: str) -> None:
        ours, start = learned.rows["ours", user], personas.rows["ours", user]["chain"][0]
        past = memory.store.of(user).interactions(task.name)[-GEPA_PAST:]
        with lm.meter.measure() as used:
            found = gepa(task, first := Persona.from_dict(start), past, lm, judges=JUDGES,
                         calls=ours["calls"])  # fmt: skip
        spent = used.snapshot()
        personas.add({"arm": RIVAL, "id": user, "chain": [found.to_dict()]})
        words = [len(each.render().split()) for each in (first, found)]
        learned.add({
            "arm": RIVAL, "id": user, "calls": spent.calls,
            "tokens": spent.input_tokens + spent.output_tokens, "updates": [], "steps": [],
            "first": [0.0, words[0]], "last": [0.0, words[1]], "stopped": "",
        })  # fmt: skip
        print(f"{RIVAL}: {user}: {spent.calls} calls, {words[0]} to {words[1]} words", flush=True)

    known = [user for user in users if ("ours", user) in learned.rows]
    at_once(one, [user for user in known if (RIVAL, user) not in learned.rows])


def summarize(
    memory: EpisodicMemory, task: Task, users: Iterable[str], lm: PersonaLM, personas: Kept
) -> None:
    """Everybody's profile that PAG shows beside its memories, by somebody who answers nothing."""
    pag = PAG(task, memory)

    def one(user: str) -> None:
        with dspy.context(lm=lm):
            profile = pag.profile(QueryScope(user, task, ""))
        told = Persona(user, task.name, profile=profile)
        personas.add({"arm": "pag", "id": user, "chain": [told.to_dict()]})

    at_once(one, [user for user in users if ("pag", user) not in personas.rows])


def at_once(work: Callable[[str], None], users: Sequence[str]) -> None:
    """Work on all users side by side: they wait for an LM."""
    with ThreadPoolExecutor(max(1, len(users))) as pool:
        list(pool.map(work, users))


def chain_of(log: AlignmentLog) -> tuple[list[Persona], list[str]]:
    """The personas of an alignment from the first to the last, and the kind of update between."""
    chain, updates = [log.first], []
    for step in log.steps:
        if step.accepted is not None:
            won = step.candidates[step.accepted].persona
            updates.append(OTHERS.get(step.iteration) or kind_of(chain[-1], won))
            chain.append(won)
    if said(chain[-1]) != said(log.last):
        chain.append(log.last)
        updates.append("action and trust")
    return chain, updates


def ask(arms: Sequence[str], answer: Arms, task: Task, asked: Sequence[Sample],
        lms: Sequence[PersonaLM], answers: Kept, texts: Kept,
        side_by_side: int) -> None:  # fmt: skip
    """Every arm's answer to every question that has none yet."""

    def one(arm: str, sample: Sample, lm: PersonaLM) -> None:
        try:
            with dspy.context(lm=lm), lm.meter.measure() as used:
                got = answer(arm, sample)
        except PersonaAgentError as error:
            print(f"{arm}: {sample.query.id}: {error}", flush=True)
            return
        spent = used.snapshot()
        keep(arm, sample, task, str(got.answer), answers, texts, calls=spent.calls,
             tokens=spent.input_tokens)  # fmt: skip

    todo = []
    for number, sample in enumerate(asked):
        user = sample.query.user
        for place, arm in enumerate([*arms, *(answer.between(user) if AFTER in arms else ())]):
            if (arm, sample.query.id) in answers.rows or not answer.knows(arm, user):
                continue
            todo.append((arm, sample, lms[(number + place) % len(lms)]))
    twins = [(arm, one, answer.twin(arm, one.query.user)) for arm, one, _ in todo]
    todo = [job for job, (_, _, twin) in zip(todo, twins, strict=True) if twin is None]
    todo.sort(key=lambda job: job[0] == "latest 60")  # these are long: last
    with ThreadPoolExecutor(side_by_side) as pool:
        list(pool.map(lambda job: one(*job), todo))
    for arm, sample, twin in twins:  # the same prompts: the same answer
        for kept in (answers, texts):
            if twin and (row := kept.rows.get((twin, sample.query.id))):
                kept.add({**row, "arm": arm})


def keep(arm: str, one: Sample, task: Task, answer: str, answers: Kept, texts: Kept,
         **spent: int) -> None:  # fmt: skip
    """Put down an answer: what it scored, and a text apart from that."""
    every = metrics(task, [one.gold], [answer])
    scores = {name: round(value, 4) for name, value in every.items() if name in TITLES}
    row = {"arm": arm, "id": one.query.id, "user": one.owner, **spent, "scores": scores}
    if task.labels:
        answers.add(row | {"answer": answer})
        return
    texts.add({"arm": arm, "id": one.query.id, "answer": answer, "gold": one.gold})
    answers.add(row)


def floors(memory: EpisodicMemory, task: Task, asked: Sequence[Sample], answers: Kept,
           texts: Kept) -> None:  # fmt: skip
    """What a user's mean and mode would have answered, without any LM."""
    for one in asked:
        past = [each.response for each in memory.store.of(one.query.user).interactions(task.name)]
        numbers = [float(each) for each in past]
        counts = Counter(past).most_common(1)[0][0]
        for arm, value in zip(FLOORS, (f"{statistics.fmean(numbers):.3f}", counts), strict=True):
            if (arm, one.query.id) not in answers.rows:
                keep(arm, one, task, value, answers, texts, calls=0, tokens=0)


def table(answers: Kept, learned: Kept) -> str:
    """Means with 95 % intervals, paired differences, what it cost; bootstrap over users.

    Every arm is told on the questions that it answered, a difference on those that both did.
    """
    asked = {arm for arm, _ in answers.rows}
    arms = [arm for arm in (*FLOORS, *ARMS, *COUNTED) if arm in asked]
    owner = {row["id"]: row["user"] for row in answers.rows.values()}
    rival = next((one for one in RIVALS if one in asked), arms[0])
    lines = [f"{len(owner)} questions of {len(set(owner.values()))} users", ""]
    for name in next(iter(answers.rows.values()))["scores"]:
        scores = {
            arm: {id: row["scores"][name] for (one, id), row in answers.rows.items() if one == arm}
            for arm in arms
        }

        def gap(arm: str, other: str, scores: Mapping[str, Mapping[str, float]] = scores) -> str:
            both = sorted(scores[arm].keys() & scores.get(other, {}).keys())
            if arm == other or not both:
                return ""
            over = OverUsers([owner[id] for id in both])
            some = f", {len(both)}" if len(both) < len(scores[arm]) else ""
            return over.said([scores[arm][id] - scores[other][id] for id in both], 3) + some

        lines += [
            f"| | questions | {TITLES[name]} [95 %] | minus {rival} | minus {BEFORE} | tokens | "
            "calls |",
            "|---|--:|---|---|---|--:|--:|",
        ]
        for arm in arms:
            ids = sorted(scores[arm])
            over = OverUsers([owner[id] for id in ids])
            mean = over.said([scores[arm][id] for id in ids], 3)
            tokens, calls = (
                np.mean([answers.rows[arm, id][one] for id in ids]) for one in ("tokens", "calls")
            )
            lines.append(
                f"| {arm} | {len(ids)} | {mean} | {gap(arm, rival)} | {gap(arm, BEFORE)} | "
                f"{tokens:,.0f} | {calls:.1f} |"
            )
        lines.append("")
    return "\n".join([*lines, *_learning(learned), "", *_updates(answers, learned)])


def _learning(learned: Kept) -> list[str]:
    """What learning took a user."""
    lines = ["| learned | users | calls a user | tokens a user | words before | words after |",
             "|---|--:|--:|--:|--:|--:|"]  # fmt: skip
    for way in (*SETTINGS, RIVAL):
        rows = [row for (one, _), row in learned.rows.items() if one == way]
        if rows:
            means = [np.mean([row[one] for row in rows]) for one in ("calls", "tokens")]
            words = [np.mean([row[one][1] for row in rows]) for one in ("first", "last")]
            each = " | ".join(f"{one:,.0f}" for one in (*means, *words))
            lines.append(f"| {way} | {len(rows)} | {each} |")
    return lines


def _updates(answers: Kept, learned: Kept) -> list[str]:
    """What accepted updates of ours were worth on the later questions of their users."""
    name = next(iter(next(iter(answers.rows.values()))["scores"]))
    sign = -1 if name == "mae" else 1
    gains: dict[str, list[float]] = {}
    for (way, user), row in learned.rows.items():
        if way != "ours" or not row["updates"]:
            continue
        between = [f"update {at}" for at in range(1, len(row["updates"]))]
        chain = [BEFORE, *between, AFTER]
        ids = [id for (arm, id), one in answers.rows.items() if (arm, one["user"]) == (AFTER, user)]
        for kind, old, new in zip(row["updates"], chain, chain[1:], strict=False):
            both = [id for id in ids if {(old, id), (new, id)} <= answers.rows.keys()]
            if both:
                before, after = (
                    np.mean([answers.rows[one, id]["scores"][name] for id in both])
                    for one in (old, new)
                )
                gains.setdefault(kind, []).append(sign * float(after - before))
    lines = ["| accepted update | users | better later | the same | worse later | mean gain |",
             "|---|--:|--:|--:|--:|--:|"]  # fmt: skip
    for kind, found in sorted(gains.items()):
        counts = [sum(np.sign(one) == way for one in found) for way in (1, 0, -1)]
        each = " | ".join(str(one) for one in counts)
        lines.append(f"| {kind} | {len(found)} | {each} | {np.mean(found):+.3f} |")
    return lines


def connected(spec: str, base: str | None, given: argparse.Namespace) -> PersonaLM:
    """An LM of the options; one at an address may be slow, and whoever answers there is asked."""
    remote = base is not None
    return connect(
        spec, api_base=base, api_key="x" if remote else None, timeout=7200.0 if remote else 300.0,
        cache=not remote, likelihoods=given.likelihoods, slots=given.side_by_side, max_tokens=2000,
    )  # fmt: skip


def options() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--lamp", choices=LAMP_TASKS)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--outputs", type=Path)
    parser.add_argument("--half", choices=("dev", "report", "all"), default="dev")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--per-user", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side-by-side", type=int, default=64)
    parser.add_argument("--likelihoods", action=argparse.BooleanOptionalAction)
    parser.add_argument("--learn", choices=(*SETTINGS, "pag", RIVAL))
    parser.add_argument("--writer", help="an LM, as `connect` takes it")
    parser.add_argument("--writer-base", help="its address")
    parser.add_argument("--arms", default="", help="with semicolons between them, or all")
    parser.add_argument("--answerer", help="an LM, as `connect` takes it")
    parser.add_argument("--answerer-base", nargs="+", default=[None])
    return parser


def main() -> None:
    given = options().parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    answers, learned, personas, texts = (
        Kept(given.out / f"{name}.jsonl") for name in ("answers", "learned", "personas", "texts")
    )
    if given.data or given.lamp:
        data = read(given)
        asked, task = drawn(data, given), data.task
        users = list(dict.fromkeys(one.query.user for one in asked))
        with ExitStack() as open_:
            way = "paper" if given.learn == "paper" else "ours"  # its personas stay its own
            store = open_.enter_context(Store(given.out / f"{way}.db"))
            memory = EpisodicMemory(store, SentenceEmbedder())
            remember(memory, data, asked)
            if given.learn:
                lm = connected(given.writer, given.writer_base, given)
                if given.learn == "pag":
                    summarize(memory, task, users, lm, personas)
                elif given.learn == RIVAL:
                    learn_by_gepa(memory, task, users, lm, learned, personas)
                else:
                    learn(given.learn, memory, task, users, lm, learned, personas)
            if given.arms:
                if metrics_of(task)[0].name == "mae":
                    floors(memory, task, asked, answers, texts)
                arms = ARMS if given.arms == "all" else given.arms.split(";")
                lms = [connected(given.answerer, one, given) for one in given.answerer_base]
                answer = Arms(task, memory, personas)
                ask(arms, answer, task, asked, lms, answers, texts, given.side_by_side)
    if answers.rows:
        print(table(answers, learned))


if __name__ == "__main__":
    main()
