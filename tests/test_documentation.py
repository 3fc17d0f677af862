"""The documentation as a whole: current, complete, and naming only what there is."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from documents import DOCS, PAGES, ROOT, blocks, text
from typer.main import get_command

from personaagent.cli.app import app

WRITTEN = [one for one in PAGES if one.name != "command-line.md"]
PROGRAM: Any = get_command(app)
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
OWN = {"--version", "--help", "--install-completion", "--show-completion"}
BENCHMARKS = {"--first", "--set", "--simulated", "--texts"}


def typed(page: Path) -> list[str]:
    """What a page writes as code: inline, and the lines of its blocks."""
    prose = re.sub(r"^```.*?^```$", "", text(page), flags=re.M | re.S)
    inline = re.findall(r"`([^`]+)`", prose)
    fenced = "\n".join(blocks(page)).replace("\\\n", " ")
    return [" ".join(one.split()) for one in [*inline, *fenced.splitlines()]]


def command_of(words: list[str]) -> Any:
    """The command that words name, with or without `personaagent` before it; None for others."""
    words = words[1:] if words[:1] == ["personaagent"] else words
    command = PROGRAM.commands.get(words[0]) if words else None
    if command is not None and hasattr(command, "commands"):
        return command.commands.get(words[1]) if len(words) > 1 else None
    return command


def options_of(command: Any) -> set[str]:
    spelled = (one for p in command.params for one in [*p.opts, *p.secondary_opts])
    return {*spelled, "--help", "-h"}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_names_is_there(page: Path):
    """Options of other programs stand with that program's name; one alone is ours."""
    anywhere = {o for c in PROGRAM.commands.values() for o in options_of(c)} | BENCHMARKS
    for code in filter(None, typed(page)):
        words = code.split()
        if words[0] == "personaagent" and len(words) > 1 and words[1] not in OWN:
            assert command_of(words) is not None, code
        if (command := command_of(words)) is not None:
            assert set(OPTION.findall(code)) <= options_of(command), code
        elif words[0].startswith("--"):
            assert words[0] in anywhere | OWN, code


def test_the_page_of_the_command_line_is_current():
    generator = runpy.run_path(str(DOCS / "command_line.py"))
    assert text(DOCS / "command-line.md") == generator["page"](), "run: python docs/command_line.py"


def test_every_page_is_in_the_sites_menu_and_in_llms_txt():
    named = {page.name for page in DOCS.glob("*.md")}
    menu, guide = text(ROOT / "mkdocs.yml"), text(DOCS / "llms.txt")
    assert {name for name in named if f": {name}\n" not in menu} == set()
    assert {name for name in named if f"]({name})" not in guide} == set()
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", guide)) == named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_is_there(page: Path):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(page)):
        assert (page.parent / link).exists(), link


def test_every_module_that_the_architecture_names_is_there():
    names = re.findall(r"`([\w/]+\.py)`", text(DOCS / "architecture.md"))
    package = ROOT / "personaagent"
    known = {str(one.relative_to(package)) for one in package.rglob("*.py")}
    known |= {Path(one).name for one in known}
    assert len(names) > 50
    assert [name for name in names if name not in known] == []
