"""`python -m personaagent`."""

from personaagent.cli import main

main()
