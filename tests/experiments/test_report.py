"""Reports: self-contained, computed from the database alone, texts only where they are wanted."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.dom.minidom

import numpy as np
import pytest
from contest import NAMES, failing, inbox, world
from rulebook import stand_in

from personaagent.errors import DataError
from personaagent.experiments import document
from personaagent.experiments.analysis import analyse, summary
from personaagent.experiments.document import Heading, Items, Paragraph, Quote
from personaagent.experiments.lineup import entrants
from personaagent.experiments.persona_map import PersonaMap
from personaagent.experiments.protocol import Setup, task_from_dict, task_to_dict
from personaagent.experiments.report import write_report
from personaagent.experiments.results import Results
from personaagent.table import Table


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with world(tmp_path_factory.mktemp("contest")) as made:
        made.run([*entrants(["majority", "knn", *NAMES, "personaagent-without-alignment"])])
        made.run([failing()])
        yield made


def test_a_report_needs_nothing_else(here, tmp_path):
    page, twin = write_report(here.results, tmp_path)
    text = page.read_text()
    assert not re.search(r"<(script|link|img|iframe)|@import|url\((?!#)", text)
    assert text.count("<svg") == 3
    assert "https://" not in re.sub(r"http://www\.w3\.org\S*", "", text)
    for image in re.findall(r"!\[.*?\]\((.*?)\)", twin.read_text()):
        drawn = (tmp_path / image).read_text()
        assert drawn.startswith("<svg")
        xml.dom.minidom.parseString(drawn)


def test_a_report_says_what_was_done_and_how_sure_it_is(here, tmp_path):
    text = write_report(here.results, tmp_path)[1].read_text()
    assert "12 samples of 2 users" in text
    assert "majority (floor)" in text
    assert re.search(r"\| (\*\*)?personaagent(\*\*)? \| (\*\*)?12", text)
    assert "Smallest effect" in text
    assert "fewer than 10 users" in text
    assert "PersonaAgent is better than the best baseline (non-personalized): Accuracy +" in text
    assert "PersonaAgent is worse than the best floor (knn): Accuracy -" in text


def test_failures_are_shown(here, tmp_path):
    text = write_report(here.results, tmp_path)[1].read_text()
    failed = sum("dog" in one.query.query for one in here.data.samples)
    assert f"| fragile | {12 - failed} | {failed} |" in text


def test_no_text_of_the_data_is_in_a_report_but_with_traces(here, tmp_path):
    queries = [one.query.query for one in here.data.samples]
    plain = [path.read_text() for path in write_report(here.results, tmp_path)]
    assert not any(query in text for query in queries for text in plain)
    traced = [path.read_text() for path in write_report(here.results, tmp_path, traces=True)]
    for text in traced:
        assert sum(query in text for query in queries) >= 2
        assert "You answer on behalf of one user" in text


def test_no_text_of_the_data_is_in_the_results_database(here):
    stored = here.results.path.read_bytes()
    assert not any(one.query.query.encode() in stored for one in here.data.samples)


def test_the_same_database_gives_the_same_report(here, tmp_path):
    one, other = (write_report(here.results, tmp_path / name)[0] for name in "ab")
    assert one.read_text() == other.read_text()


def test_a_report_is_computed_again_without_lm_and_data(here, tmp_path):
    code = (
        "import sys; from pathlib import Path; "
        "from personaagent.experiments.report import write_report; "
        "from personaagent.experiments.results import Results; "
        f"write_report(Results(Path({str(here.results.path)!r})), Path({str(tmp_path / 'b')!r})); "
        "print({'dspy', 'torch', 'faiss', 'mlflow'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
    first = write_report(here.results, tmp_path / "a")[0]
    assert first.read_text() == (tmp_path / "b" / "report.html").read_text()


def test_a_summary_is_plain_and_names_every_system(here):
    said = summary(analyse(here.results, here.results.experiments()[0]))
    assert [one["system"] for one in said["systems"]][:2] == ["majority", "knn"]
    ours = next(one for one in said["systems"] if one["system"] == "personaagent")
    assert ours["against_best"]["other"] == said["best"]
    assert 0 <= ours["against_best"]["p"] <= ours["against_best"]["p_corrected"] <= 1
    assert "samples" not in said["protocol"]


def test_a_comparison_also_says_how_sure_the_answers_were(here):
    said = summary(analyse(here.results, here.results.experiments()[0]))
    lines = {one["system"]: one for one in said["systems"]}
    against = lines["personaagent"]["against_best"]
    gap = lines["personaagent"]["loss"] - lines[against["other"]]["loss"]
    assert against["loss"]["value"] == pytest.approx(gap)
    assert against["loss"]["low"] <= gap <= against["loss"]["high"]


def test_what_was_varied_becomes_a_curve(tmp_path):
    with world(tmp_path) as here:
        for k in (1, 2, 4):
            here.run(entrants(["rag", "non-personalized"]), setup=Setup().varied("k", k))
        page, twin = write_report(here.results, tmp_path / "out")
    assert "inbox: Accuracy by memories read (k)" in page.read_text()
    assert "| System | 1 | 2 | 4 |" in twin.read_text()


def test_a_curve_says_what_its_alignments_cost(tmp_path):
    with world(tmp_path) as here:
        for iterations in (0, 2):
            made = here.run(
                entrants(["personaagent"]), setup=Setup(alignment={"iterations": iterations})
            )
        _, twin = write_report(here.results, tmp_path / "report")
        cost = here.results.personas(made.run, {"ann", "bob"})
    told = twin.read_text()
    steps, accepted = sum(one.steps for one in cost), sum(one.accepted for one in cost)
    assert f"| steps accepted | 0 of 0 | {accepted} of {steps} |" in told
    assert f" {sum(one.calls for one in cost) / 2:.1f} |" in told
    assert "### Loss" in told


def test_a_point_of_a_curve_that_asked_more_systems_is_told_apart(tmp_path):
    with world(tmp_path) as here:
        few, more = entrants(["rag", "knn"]), entrants(["rag", "knn", "icl"])
        here.run(few, setup=Setup(latest=2))
        here.run(more, setup=Setup(latest=4))
        _, twin = write_report(here.results, tmp_path / "report")
    sections = [line for line in twin.read_text().splitlines() if line.startswith("## ")]
    assert any("interactions" in line and "by" in line for line in sections)
    assert any("interactions = 4" in line for line in sections)
    assert not any("interactions = 2" in line for line in sections)


def test_a_persona_map_is_drawn_and_told(tmp_path):
    users = [f"user {n}" for n in range(15)]
    with world(tmp_path, inbox(users, questions=1, history=4)) as here:
        done = here.run(entrants(["majority"]))
        vectors = np.random.default_rng(0).normal(size=(15, 6))
        made = PersonaMap.of(users, ["work", "family", ""] * 5, vectors, vectors + 0.1)
        here.results.record_map(done.id, made.to_dict())
        page, twin = write_report(here.results, tmp_path / "out")
    text = twin.read_text()
    assert "personas that differ from one another: 15, of 15 users" in text
    assert "Mantel's r = +0.9" in text
    assert "| User | nearest by persona | nearest by history | cosine | cosine |" in text
    assert "The first 12 of 15 users." in text
    assert page.read_text().count("<svg") == 4
    assert "component 1" in page.read_text()


def test_lms_are_compared_on_the_same_samples(tmp_path):
    with world(tmp_path) as here:
        here.run(entrants(["knn", "rag", "non-personalized"]))
        here.lm = stand_in(here.book)
        here.book.readings = {}
        here.run(entrants(["knn", "rag", "icl"]))
        here.run(entrants(["rag"]), setup=Setup(k=2))  # nothing to compare with
        text = write_report(here.results, tmp_path / "out")[1].read_text()
    (heading,) = re.findall(r"## inbox: \S+ and \S+\n", text)
    table = text.partition(heading)[2].partition("##")[0]
    assert re.findall(r"^\| (\S+)", table, re.M) == ["System", "---", "rag"]
    assert re.search(r"\| rag \|.*\| 12 \| [+-]0.\d", table)


def test_an_experiment_that_nobody_answered_is_reported(tmp_path):
    with world(tmp_path) as here:
        here.run([failing(on=" ")])
        assert "Nothing is answered yet." in write_report(here.results, tmp_path)[0].read_text()


def test_an_empty_database_is_an_error(tmp_path):
    with Results(tmp_path / "results.db") as results, pytest.raises(DataError):
        write_report(results, tmp_path)


def test_a_task_comes_back_from_its_protocol(here):
    assert task_from_dict(task_to_dict(here.data.task)) == here.data.task


WILD = "<b>&amp; *x* | [a](b) `c` ```\n# d"


def test_texts_are_never_read_as_markup():
    blocks = [
        Heading(WILD),
        Paragraph(WILD),
        Items([WILD]),
        Table(columns=[WILD], rows=[[WILD]], note=WILD),
        Quote(WILD, [(WILD, WILD)]),
    ]
    page = document.to_html(WILD, blocks)
    assert "<b>" not in page
    twin = document.to_markdown(WILD, blocks)
    assert f"````text\n{WILD}\n````" in twin
    outside = twin.replace(f"````text\n{WILD}\n````", "")
    assert not re.search(r"(?<!\\)[<`*\[](?!\*)", outside.replace("**", ""))


def test_a_narrow_window_keeps_numbers_in_view():
    page = document.to_html("Title", [Table(columns=["System", "n"], rows=[["a-long-name", "1"]])])
    style = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
    plain, _, narrow = style.partition("@media (max-width: 45rem)")
    assert re.search(r"figure svg \{[^}]*width: 100%[^}]*height: auto", plain)  # plots scale
    assert re.search(r"\.wide \{[^}]*overflow-x: auto", plain)  # tables scroll by themselves
    assert re.search(r"body \{[^}]*overflow-wrap: anywhere", plain)  # no word widens the page
    first = re.search(r"th:first-child, td:first-child \{([^}]*)\}", narrow).group(1)
    assert "position: sticky" in first  # the name stays, the numbers are beside it
    assert "min-width: 0" in first
    assert "<div class=wide><table>" in page
