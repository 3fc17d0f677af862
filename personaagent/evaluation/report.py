"""The report: one page of HTML that needs nothing else, and its Markdown twin.

It is made of the results database alone. Texts of a data set enter it only with `traces`, from the
work folder beside the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from personaagent.errors import DataError
from personaagent.evaluation import document, plots
from personaagent.evaluation.analysis import Analysis, Line, analyse
from personaagent.evaluation.document import Block, Figure, Heading, Items, Paragraph, Table
from personaagent.evaluation.results import Results
from personaagent.evaluation.trace import chosen_traces
from personaagent.evaluation.wording import (
    METHOD,
    NONE,
    interval,
    p_value,
    protocol_lines,
    signed,
    title,
    verdict,
)

TITLE = "PersonaAgent: evaluation"


def write_report(
    results: Results, folder: Path, *, traces: bool = False, only: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` with its figures; their paths.

    Args:
        results: every figure comes from here.
        folder: is made where it is missing.
        traces: some answers in full. They quote the data set: mind its licence.
        only: ids of experiments; by default all of them.

    Raises:
        DataError: there is no experiment.
    """
    analyses = analyses_of(results, only)
    blocks = [
        *_introduction(analyses),
        *(block for one in analyses for block in _section(one, results, traces)),
        *_curves(analyses),
        Heading("How this was computed"),
        Items(METHOD),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    page, twin = folder / "report.html", folder / "report.md"
    page.write_text(document.to_html(TITLE, blocks), encoding="utf-8")
    twin.write_text(document.to_markdown(TITLE, blocks, folder), encoding="utf-8")
    return page, twin


def analyses_of(results: Results, only: Sequence[str] = ()) -> list[Analysis]:
    """The experiments of a database, computed, by task.

    Raises:
        DataError: there is none.
    """
    wanted = [one for one in results.experiments() if not only or one.id in only]
    if not wanted:
        raise DataError(f"{results.path}: there is no experiment in it yet")
    return sorted((analyse(results, one) for one in wanted), key=lambda one: one.task.name)


def _introduction(analyses: Sequence[Analysis]) -> Iterator[Block]:
    told = [f"{title(one)}: {said}" for one in analyses if (said := verdict(one))]
    if told:
        yield Items(told)
    plain = [one for one in analyses if not one.experiment.protocol["variant"]]
    if len(plain) < 2:
        return
    yield Heading("All experiments")
    systems = dict.fromkeys(line.system for one in plain for line in one.lines)
    columns = [f"{one.task.name} {one.headline.title} (n = {_n(one)})" for one in plain]
    rows = [[system, *(_headline(one, one.line(system)) for one in plain)] for system in systems]
    yield Table(["System", *columns], rows)


def _section(analysis: Analysis, results: Results, traces: bool) -> Iterator[Block]:
    yield Heading(title(analysis))
    yield Items(list(protocol_lines(analysis)))
    if not any(line.n for line in analysis.lines):
        yield Paragraph("Nothing is answered yet.")
        return
    yield _main_table(analysis)
    yield Paragraph(
        "p-values are corrected (Holm) over all comparisons of this experiment; the best baseline "
        f"is {analysis.best or NONE}. Faint rows are floors: they use no LM. Seconds, calls and "
        "tokens are means a sample."
    )
    name = analysis.experiment.id[:8]
    yield Figure(f"{name}-quality", plots.quality(analysis), f"{analysis.headline.title} by system")
    yield Figure(
        f"{name}-efficiency",
        plots.efficiency(analysis),
        f"{analysis.headline.title} against seconds a sample",
    )
    if compared := [c for line in analysis.lines for c in _compared(line)]:
        yield Heading("Comparisons", 3)
        yield Table(
            ["System", "against", "n", "difference [95 %]", "p", "p (Holm)", "smallest effect"],
            compared,
            left=2,
        )
    yield from _ahead(analysis)
    if traces:
        yield Heading("Traces", 3)
        yield from chosen_traces(results, analysis)


def _main_table(analysis: Analysis) -> Table:
    metrics = analysis.metrics
    columns = [
        "System",
        "n",
        "failed",
        *(f"{one.title} [95 %]" for one in metrics),
        "p vs non-pers.",
        "p vs best",
        *("seconds (median)", "calls", "tokens in", "cached", "out"),
    ]
    rows = []
    for line in analysis.lines:
        cost = line.cost
        spent = [f"{cost.seconds:.2f} ({cost.median:.2f})", f"{cost.calls:.1f}"] + [
            f"{tokens:,.0f}"
            for tokens in (cost.input_tokens, cost.cached_tokens, cost.output_tokens)
        ]
        rows.append(
            [
                f"{line.system} (floor)" if line.role == "floor" else line.system,
                str(line.n),
                str(line.failed),
                *(interval(line.scores.get(one.name)) for one in metrics),
                p_value(line.against_plain.corrected) if line.against_plain else NONE,
                p_value(line.against_best.corrected) if line.against_best else NONE,
                *(spent if line.n else [NONE] * 5),
            ]
        )
    best = {
        at for at, line in enumerate(analysis.lines) if line.n and line.system == _top(analysis)
    }
    floors = {at for at, line in enumerate(analysis.lines) if line.role == "floor"}
    return Table(columns, rows, strong=frozenset(best), faint=frozenset(floors))


def _top(analysis: Analysis) -> str:
    name, gain = analysis.headline.name, analysis.headline.gain
    answered = [line for line in analysis.lines if line.n]
    return max(answered, key=lambda line: gain(line.scores[name].value)).system


def _compared(line: Line) -> Iterator[list[str]]:
    for one in line.comparisons:
        gap = one.difference
        yield [
            line.system,
            one.other,
            str(one.n),
            f"{signed(gap.value)} [{signed(gap.low)}, {signed(gap.high)}]",
            p_value(one.p),
            p_value(one.corrected),
            f"{one.smallest:.3f}",
        ]


def _ahead(analysis: Analysis) -> Iterator[Block]:
    """What was paid before the first question."""
    told = [
        f"{line.system}: {line.cost.ahead_seconds:.2f} s and {line.cost.ahead_calls:.1f} calls a "
        "sample (nothing where another system had it written already)"
        for line in analysis.lines
        if line.cost.ahead_calls
    ]
    if personas := analysis.personas:
        count = len(personas)
        told.append(
            f"personas: {count}, each {sum(one.seconds for one in personas) / count:.1f} s, "
            f"{sum(one.calls for one in personas) / count:.0f} calls and "
            f"{sum(one.tokens for one in personas) / count:,.0f} tokens, once a user; "
            f"{sum(one.accepted > 0 for one in personas)} changed in alignment, "
            f"{sum(one.directives for one in personas) / count:.1f} directives each"
        )
    if told:
        yield Heading("Made before the questions", 3)
        yield Items(told)


def _curves(analyses: Sequence[Analysis]) -> Iterator[Block]:
    """A table and a figure for whatever number was varied while all else stayed the same."""
    groups: dict[tuple[str, ...], dict[float, Analysis]] = {}
    for one in analyses:
        said = one.experiment.protocol
        for name, value in said["variant"].items():
            if isinstance(value, int | float):
                rest = {k: v for k, v in said["variant"].items() if k != name}
                same = [
                    said["task"]["name"],
                    said["data"]["name"],
                    said["lm"],
                    said["cohort"],
                    rest,
                ]
                groups.setdefault((name, *map(repr, same)), {})[value] = one
    for (name, *_), found in groups.items():
        if len(found) < 2:
            continue
        values = sorted(found)
        one = found[values[0]]
        systems = dict.fromkeys(line.system for each in found.values() for line in each.lines)
        rows = [[s, *(_headline(found[v], found[v].line(s)) for v in values)] for s in systems]
        yield Heading(f"{one.task.name}: {one.headline.title} by {name}")
        yield Table(["System", *(f"{value:g}" for value in values)], rows)
        series = {
            system: [(value, line) for value in values if (line := found[value].line(system))]
            for system in systems
        }
        drawn = plots.curves(
            {system: points for system, points in series.items() if points},
            one.headline.name,
            one.headline.title,
            name,
        )
        label = f"{one.experiment.id[:8]}-{name}"
        yield Figure(label, drawn, f"{one.headline.title} by {name}, with 95 % intervals")


def _headline(analysis: Analysis, line: Line | None) -> str:
    return interval(line.scores[analysis.headline.name]) if line else NONE


def _n(analysis: Analysis) -> int:
    return len(analysis.experiment.protocol["samples"])
