"""The command line: `personaagent`, or `python -m personaagent`."""

from personaagent.cli.app import main

__all__ = ["main"]
