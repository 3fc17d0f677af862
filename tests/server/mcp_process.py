"""`python mcp_process.py mcp …` is the command line with a stand-in embedder, as a process."""

from standins import HashEmbedder

import personaagent.memory
from personaagent.cli import main

personaagent.memory.named_embedder = HashEmbedder  # type: ignore[assignment,misc]
main()
