"""docs/architecture.md lists the files of the four main ways as they are when the code runs."""

import re
from pathlib import Path

from cli_world import rows, write
from contest import world
from tracing import traced

DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.md"


def documented(way: str) -> list[str]:
    """The files of a way, in the order of the page; the page counts them right."""
    page = DOCUMENT.read_text().partition("## The ways in files")[2]
    count, line = re.search(
        rf"- \*\*{way}\*\*, (\d+) files: (.*?)\.\n(?=\n|- )", page, re.S
    ).groups()
    files = re.findall(r"`([^`]+)`", line)
    assert len(files) == int(count)
    return files


def test_import(run, tasks, tmp_path):
    path = write(tmp_path / "history.jsonl", rows())
    with traced(
        "data/jsonl.py:read_interactions",
        "data/screening.py:Screening.verdict",
        "memory/store.py:Store.add",
        "memory/store.py:Store.save_vectors",
    ) as found:
        run("import", path, "--tasks", tasks)
    assert set(found.way) == set(documented("import")), list(found.way)


def test_compile_and_ask(run, imported):
    with traced(
        "memory/user.py:UserMemory.interactions",
        "programs/agent.py:PersonaAgent.forward",
        "programs/rewriter.py:GradientWriter.critique",
        "programs/rewriter.py:PersonaRewriter.edits",
        "optimizers/selection.py:AcceptOnReplay.accepts",
        "memory/chain.py:Chain.append",
    ) as found:
        run("compile", "--user", "amira", "--no-track")
    assert set(found.way) == set(documented("compile")), list(found.way)
    with traced(
        "memory/chain.py:Chain.champion",
        "memory/vectors.py:FaissIndex.nearest",
        "lm/model.py:PersonaLM.__call__",
        "programs/user_label_prior.py:user_label_prior",
        "programs/fusion.py:serve",
    ) as found:
        run("ask", "The car needs new tyres.", "--user", "amira")
    assert set(found.way) == set(documented("ask")), list(found.way)


def test_a_sample(tmp_path):
    with world(tmp_path) as here:
        run = here.run().run
        here.results.forget(run, ["rag", "personaagent"])
        with traced(
            "programs/agent.py:PersonaAgent.forward",
            "experiments/baselines.py:RAG.forward",
            "experiments/metrics.py:loss",
            "experiments/trace.py:keep_trace",
            "experiments/results.py:Results.record",
        ) as found:
            here.run()
    assert set(found.way) == set(documented("a sample of evaluate")), list(found.way)
