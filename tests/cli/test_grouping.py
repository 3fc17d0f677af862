"""Options that a command takes as a dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from personaagent.cli.app import grouped


@dataclass(frozen=True)
class Colours:
    red: int
    blue: Annotated[int, typer.Option("--azure", help="How blue.", min=0)] = 2


@grouped
def paint(colours: Colours, shape: Annotated[str, typer.Option(help="What.")] = "dot") -> None:
    """Paint something."""
    typer.echo(f"{colours} {shape}")


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(paint)
    return lambda *arguments: CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_options_of_the_group_and_its_own_are_taken(run):
    assert run(1, "--azure", 5, "--shape", "star").stdout == "Colours(red=1, blue=5) star\n"
    assert run(1).stdout == "Colours(red=1, blue=2) dot\n"


def test_the_group_keeps_its_rules_and_its_help(run):
    assert run(1, "--azure", -1).exit_code == 2
    assert run().exit_code == 2
    said = run("--help").stdout
    assert "How blue." in said
    assert "Paint something." in said


@dataclass(frozen=True)
class Picture:
    title: str
    colours: Colours = field(default_factory=lambda: Colours(0))


@grouped
def hang(picture: Picture) -> None:
    """Hang a picture."""
    typer.echo(f"{picture}")


def test_a_group_within_a_group_is_taken_apart_and_put_together():
    app = typer.Typer()
    app.command()(hang)
    found = CliRunner().invoke(app, ["sea", "1", "--azure", "7"])
    assert found.stdout == "Picture(title='sea', colours=Colours(red=1, blue=7))\n"


def test_python_may_leave_out_what_has_a_default(capsys):
    paint(red=3)
    assert capsys.readouterr().out == "Colours(red=3, blue=2) dot\n"
