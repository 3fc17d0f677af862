"""The command line with a slow stand-in LM, in a process that can be killed."""

import os
import sys
import time
from pathlib import Path

from cli_world import Engine, connect
from standins import HashEmbedder

import personaagent.lm
import personaagent.memory
from personaagent.cli import main

answer = Engine.complete


def complete(self, request):
    with Path(os.environ["CALLS"]).open("a") as log:
        log.write(".")
    time.sleep(float(os.environ["SECONDS"]))
    return answer(self, request)


Engine.complete = complete
personaagent.lm.connect = connect
personaagent.memory.named_embedder = HashEmbedder
sys.argv[0] = "personaagent"
main()
