"""The question itself; the task's own instruction takes the place of the docstring."""

import dspy


class AnswerQuery(dspy.Signature):
    """Answer the question."""

    persona: str = dspy.InputField(desc="the user's system prompt, delivered verbatim")
    evidence: str = dspy.InputField(desc="")
    question: str = dspy.InputField(desc="")
    directive: str = dspy.InputField(desc="")
    answer: str = dspy.OutputField(desc="the answer")
