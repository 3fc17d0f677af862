"""A process that aligns one user with a slow stand-in LM and can be killed: `test_kill.py`."""

import sys
import time
from pathlib import Path

import dspy
from rulebook import RuleBook, stand_in
from standins import HashEmbedder
from worlds_of_mail import INBOX, READINGS, habitual

from personaagent.data import Action
from personaagent.memory import EpisodicMemory, Store
from personaagent.optimizers import PersonaAlignment
from personaagent.programs import PersonaAgent


class SlowBook(RuleBook):
    def complete(self, request):
        answer = super().complete(request)
        with Path(sys.argv[2]).open("a") as log:
            log.write(".")
        time.sleep(float(sys.argv[3]))
        return answer


def main() -> None:
    with Store(sys.argv[1]) as store:
        memory = EpisodicMemory(store, HashEmbedder(dimensions=512))
        history = habitual()
        memory.add(history)
        agent = PersonaAgent(INBOX, memory)
        alignment = PersonaAlignment(policies=((), (Action("recall"),)))
        alignment.record = store.of("ann").journal(alignment.key(agent, history, "slow"))
        with dspy.context(lm=stand_in(SlowBook(INBOX, READINGS))):
            log = alignment.compile(agent, trainset=history).alignment
        store.of("ann").publish(log.first, expected=None, reason="first")
        store.of("ann").publish(log.last, expected=log.first.hash, reason="aligned")
    print(log.last.render())


if __name__ == "__main__":
    main()
