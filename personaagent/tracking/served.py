"""The code of the MLflow model; MLflow runs it by its path when it loads the model."""

from pathlib import Path

import dspy
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from pydantic import BaseModel

from personaagent.tracking.model import load_agent


class Question(BaseModel):
    """Who is asked for, and what."""

    user: str
    query: str


class Answer(BaseModel):
    """What this user would answer; `version` and `hash` are of the persona, None without one."""

    user: str
    answer: str
    distribution: dict[str, float] | None = None
    version: int | None = None
    hash: str | None = None


class Served(PythonModel):  # type: ignore[misc]
    """Answers questions as their users would, each under the user's persona."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the personas and connect to the LM."""
        self.agent, self.personas, self.lm = load_agent(Path(context.artifacts["agent"]))

    def predict(self, model_input: list[Question]) -> list[Answer]:
        """An answer a question."""
        with dspy.context(lm=self.lm):
            return [self.answer(one) for one in model_input]

    def answer(self, question: Question) -> Answer:
        """The answer to one question."""
        persona = self.personas.get(question.user) or self.agent.persona_of(question.user)
        known = bool(not persona.blank or persona.parent)
        said = self.agent(query=question.query, user=question.user, persona=persona)
        return Answer(
            user=question.user,
            answer=said.answer,
            distribution=said.distribution,
            version=persona.version if known else None,
            hash=persona.hash if known else None,
        )


set_model(Served())
