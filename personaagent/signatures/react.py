"""One step of ReAct: a thought, then a tool with its arguments."""

import dspy


class TakeStep(dspy.Signature):
    """Think, then call one tool."""  # DSPy's ReAct puts its own instruction here

    query: str = dspy.InputField(desc="query")
    trajectory: str = dspy.InputField(desc="trajectory")
    step: str = dspy.OutputField(desc="the next thought, tool and arguments")
