"""A persona for a DSPy program of your own: python examples/own_program.py

The program below is anybody's: all it has of PersonaAgent is an input field `persona`. Five lines
make it personal (marked); the rest is the data. With the embedded LM it takes some minutes.
"""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import dspy

from personaagent import (
    EpisodicMemory,
    PersonaAlignment,
    Personal,
    SentenceEmbedder,
    Store,
    connect,
)
from personaagent.data import read_interactions, read_tasks

SAMPLE = Path(str(files("personaagent") / "data" / "sample"))
FOLDERS = ("work", "money", "home", "health", "travel", "shopping", "family", "leisure")


class FileMessage(dspy.Signature):
    """Which folder does this message belong in?"""

    persona: str = dspy.InputField()
    message: str = dspy.InputField()
    folder: Literal[FOLDERS] = dspy.OutputField()  # type: ignore[valid-type]


class MailRoom(dspy.Module):
    """A program as DSPy's users write them, with a step of its own before the LM is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.file = dspy.Predict(FileMessage)

    def forward(self, message: str, persona: str = "") -> dspy.Prediction:
        return self.file(message=message.removeprefix("Fwd: "), persona=persona)


def main(lm: Any = None, embedder: Any = None, user: str = "amira") -> Personal:
    """Align the mail room to a user of the sample, and file a message before and after."""
    tasks = read_tasks(SAMPLE / "tasks.json")
    past = read_interactions(SAMPLE / "history.jsonl", tasks)
    interactions = [one for one in past if (one.user, one.task) == (user, "inbox")]
    message = "Fwd: We take the car to the skiing holiday, so it needs its winter tyres."

    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "memory.db") as store:
        # The five lines:
        dspy.configure(lm=lm or connect("embedded"))
        memory = EpisodicMemory(store, embedder or SentenceEmbedder())
        memory.add(interactions)
        program = Personal(
            MailRoom(), task=tasks["inbox"], memory=memory, query="message", answer="folder"
        )
        aligned: Personal = PersonaAlignment().compile(program, trainset=interactions)

        print("before:", program(query=message, user=user).answer)
        print("after: ", aligned(query=message, user=user).answer)
        print(aligned.alignment.last.render())
        # The persona is text: your program works with it without us.
        print(
            "bare:  ", MailRoom()(message=message, persona=aligned.alignment.last.render()).folder
        )
    return aligned


if __name__ == "__main__":
    main()
