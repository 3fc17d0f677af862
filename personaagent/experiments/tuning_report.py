"""The report of a search as a page of HTML and its Markdown twin, with its figures: the front, what
matters, and the loss over each choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaagent.experiments import document
from personaagent.experiments.document import Block, Figure, Heading, Items, Paragraph
from personaagent.experiments.formatting import NONE, gap, p_value
from personaagent.experiments.plots import svg
from personaagent.experiments.statistics import Difference
from personaagent.experiments.tuning import Checked, Findings
from personaagent.optimizers.tuner import Tried
from personaagent.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


TITLE = "PersonaAgent: tuning"
METHOD = (
    "Each user's latest interactions are held out: a persona is learned from the earlier ones "
    "alone and judged on the later ones. Every setting is tried on the same users and the same "
    "held-out interactions.",
    "The loss is the mean over users of the mean negative log-likelihood of what the user really "
    "answered (where the answer is no distribution: 1 minus the score).",
    "The cost is what learning and answering take a user where nothing is known yet: what one "
    "setting has asked and another one needs too is counted for both, and asked once.",
    "The winner is the cheapest setting of the front whose loss is within one standard error of "
    "the best one's (paired, over users). With one objective it is the best one.",
    "Intervals are 95 % bootstrap intervals of the paired difference, drawn over users. The best "
    "of many looks better than it is: only users that the search did not see can say how good the "
    "winner is.",
    "Importances are PED-ANOVA's: how much a choice decides whether a setting is among the best "
    "quarter.",
)


def write_tuning_report(
    findings: Findings, checked: Checked | None, about: Mapping[str, str], folder: Path
) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` with its figures; their paths.

    Args:
        about: what was tuned on, by name.
    """
    blocks = [*_blocks(findings, checked, about)]
    page, twin = folder / "report.html", folder / "report.md"
    page.write_text(document.to_html(TITLE, blocks), encoding="utf-8")
    twin.write_text(document.to_markdown(TITLE, blocks, folder), encoding="utf-8")
    return page, twin


NO_SETTING = (
    "No setting.json: the winner's held-out loss is not lower than that of the defaults, so the "
    "defaults stand."
)


def write_setting(findings: Findings, checked: Checked | None, folder: Path) -> list[Path]:
    """Write `setting.json` if the winner is better than the defaults, and else see that there is
    none; the file."""
    path = folder / "setting.json"
    if findings.improves(checked):
        findings.winner.setting.write(path)
        return [path]
    path.unlink(missing_ok=True)  # of this very search, when it had seen less
    return []


def verdict(findings: Findings) -> str:
    """The winner and how it compares with the defaults, in a sentence."""
    winner = findings.winner
    said = f"The winner is {described(findings, winner)} (trial {winner.number})"
    found = findings.against_default(winner)
    base = findings.baseline
    if winner.setting == findings.default:
        return f"{said}: the defaults themselves."
    if found is None or base is None:
        return f"{said}; the defaults were not tried to the end."
    n = len(winner.outcomes)
    apart = "" if found.high < 0 or found.low > 0 else f"; {n} users do not tell the two apart"
    saved = f"at {winner.cost / base.cost:.0%} of their {findings.cost}" if base.cost else ""
    return f"{said}: loss {gap(found)} against the defaults{', ' + saved if saved else ''}{apart}."


def checked_verdict(checked: Checked) -> str:
    """The winner on users that the search did not see, in a sentence."""
    return (
        f"On {checked.users} users that the search did not see: loss {gap(checked.loss)}, "
        f"p = {p_value(checked.loss.p)}; score {gap(checked.score)}, against the defaults."
    )


def described(findings: Findings, one: Tried) -> str:
    """The choices that varied."""
    return ", ".join(f"{name} {getattr(one.setting, name)}" for name in findings.names)


def summary(findings: Findings, checked: Checked | None) -> dict[str, Any]:
    """The findings as JSON data."""
    front = {one.number for one in findings.front}
    trials = [
        {
            "number": one.number,
            "setting": {name: getattr(one.setting, name) for name in findings.names},
            "loss": one.loss,
            "cost": one.cost,
            "dropped": one.dropped,
            "front": one.number in front,
            "against_default": _gap_data(findings.against_default(one)),
        }
        for one in findings.tried
        if not one.dropped
    ]
    return {
        "cost": findings.cost,
        "trials": trials,
        "dropped": len(findings.tried) - len(trials),
        "winner": {
            "number": findings.winner.number,
            "setting": findings.winner.setting.to_dict(),
            "better": findings.improves(checked),
        },
        "importances": findings.importances,
        "checked": checked
        and {
            "users": checked.users,
            "loss": _gap_data(checked.loss),
            "score": _gap_data(checked.score),
        },
    }


def _blocks(
    findings: Findings, checked: Checked | None, about: Mapping[str, str]
) -> Iterator[Block]:
    said = [verdict(findings), *([checked_verdict(checked)] if checked else [])]
    yield Items(said if findings.improves(checked) else [*said, NO_SETTING])
    yield Items([f"{name}: {value}" for name, value in about.items()])
    yield Heading("Loss against cost")
    yield Figure("front", front(findings), "Held-out loss against cost")
    yield _table(findings, findings.front)
    if findings.importances:
        yield Heading("What matters")
        drawn = importances(findings.importances)
        yield Figure("importances", drawn, "Importance of each choice, by objective")
    yield Heading("Loss over each choice")
    for name in findings.names:
        drawn = slice_of(findings, name)
        yield Figure(f"slice-{name}", drawn, f"Held-out loss over {name}; later trials are darker")
    yield Heading("All trials")
    yield _table(findings, findings.tried)
    dropped = sum(one.dropped for one in findings.tried)
    if dropped:
        yield Paragraph(
            f"Dropped as hopeless before all users were tried (faint): {dropped}; their loss is an "
            "estimate."
        )
    yield Heading("How this was computed")
    yield Items(METHOD)


def _table(findings: Findings, tried: Any) -> Table:
    numbers = [*findings.names, "loss", findings.cost, "loss against the defaults [95 %]"]
    rows = [
        [
            str(one.number),
            *(str(getattr(one.setting, name)) for name in findings.names),
            f"{one.loss:.3f}",
            f"{one.cost:,.0f}",
            _against(findings, one),
        ]
        for one in tried
    ]
    winner = findings.winner.number
    return Table(
        columns=["trial", *numbers],
        rows=rows,
        right=numbers,
        strong=[at for at, one in enumerate(tried) if one.number == winner],
        faint=[at for at, one in enumerate(tried) if one.dropped],
    )


def _against(findings: Findings, one: Tried) -> str:
    if one.setting == findings.default:
        return "the defaults"
    found = findings.against_default(one)
    return NONE if found is None else gap(found)


def _gap_data(gap: Difference | None) -> dict[str, float] | None:
    return (
        None if gap is None else {"value": gap.value, "low": gap.low, "high": gap.high, "p": gap.p}
    )


_PLAIN, _FRONT, _DEFAULT, _LOSS, _COST = "#8a8a8a", "#d55e00", "#0072b2", "#d55e00", "#0072b2"


def front(findings: Findings) -> str:
    """Every setting by cost and held-out loss; down and to the left is better."""

    def draw(axes: Axes) -> None:
        complete = findings.complete
        axes.plot(
            [one.cost for one in complete],
            [one.loss for one in complete],
            linestyle="",
            marker="o",
            color=_PLAIN,
            markerfacecolor="white",
            label="setting",
        )
        best = findings.front
        axes.step(
            [one.cost for one in best],
            [one.loss for one in best],
            where="post",
            marker="o",
            color=_FRONT,
            label="front",
        )
        if (base := findings.baseline) is not None:
            axes.plot([base.cost], [base.loss], "s", color=_DEFAULT, markersize=8, label="defaults")
        winner = findings.winner
        axes.plot(
            [winner.cost],
            [winner.loss],
            "D",
            color=_FRONT,
            markersize=9,
            label=f"winner (trial {winner.number})",
        )
        axes.set_xlabel(f"{findings.cost} a user, learning and answering")
        axes.set_ylabel("held-out loss (nats)")
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.legend(frameon=False, fontsize=9)

    return svg(draw, height=4.0)


def importances(found: Mapping[str, Mapping[str, float]]) -> str:
    """Each choice's share, by objective."""

    def draw(axes: Axes) -> None:
        names = list(next(iter(found.values())))
        thick = 0.8 / len(found)
        colors = (_LOSS, _COST)
        for at, (objective, shares) in enumerate(found.items()):
            places = [row + at * thick for row in range(len(names))]
            axes.barh(
                places, [shares[n] for n in names], thick, color=colors[at % 2], label=objective
            )
        axes.set_yticks([row + 0.4 - thick / 2 for row in range(len(names))], names)
        axes.invert_yaxis()
        axes.set_xlabel("importance (share)")
        axes.legend(frameon=False, fontsize=9)

    height = 1.2 + 0.5 * len(next(iter(found.values())))
    return svg(draw, height=height)


def slice_of(findings: Findings, name: str) -> str:
    """The held-out loss of every setting over one choice; later trials are darker."""

    def draw(axes: Axes) -> None:
        tried = findings.complete
        values = [getattr(one.setting, name) for one in tried]
        numbers = all(isinstance(value, int) for value in values)
        kinds = sorted(set(values), key=None if numbers else str)
        xs = values if numbers else [kinds.index(value) for value in values]
        shades = [0.35 + 0.65 * at / max(1, len(tried) - 1) for at in range(len(tried))]
        for x, one, shade in zip(xs, tried, shades, strict=True):
            axes.plot([x], [one.loss], "o", color=_LOSS, alpha=shade, markersize=6)
        if numbers:
            axes.set_xscale("log", base=2)  # as it was searched
            axes.minorticks_off()
            axes.set_xticks(kinds, [str(kind) for kind in kinds])
        else:
            axes.set_xticks(range(len(kinds)), kinds)
        axes.margins(x=0.08)
        axes.set_xlabel(name)
        axes.set_ylabel("held-out loss (nats)")
        axes.grid(color="#e6e6e6", linewidth=0.8)

    return svg(draw, height=2.6)
