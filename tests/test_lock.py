"""The lock file of development has every library that the package names, as it takes it."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def test_every_library_that_is_named_is_locked_in_a_version_that_is_taken():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [Requirement(one) for one in project["dependencies"]]
    for extra in ("embedded", "examples", "lora", "mcp", "postgres", "ray", "serve", "docs", "dev"):
        named += [Requirement(one) for one in project["optional-dependencies"][extra]]
    lines = (ROOT / "requirements-dev.lock").read_text().splitlines()[1:]
    locked = {
        canonicalize_name(name): version for name, _, version in (x.partition("==") for x in lines)
    }
    for one in named:
        if one.name != "personaagent":
            assert locked[canonicalize_name(one.name)] in one.specifier, one
