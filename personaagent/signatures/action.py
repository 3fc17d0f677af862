"""π_P: which tools to use, and with which arguments (paper, section 3.2)."""

import dspy


class ChooseActions(dspy.Signature):
    """Choose the tools to call before the query is answered for this user: those that the persona
    calls for and that tell something still unknown. Write search words of your own, specific to
    this user and query. Choose no tool when what was found already is enough."""

    persona: str = dspy.InputField(desc="the user's system prompt, delivered verbatim")
    tools: str = dspy.InputField(desc="Tools")
    query: str = dspy.InputField(desc="Query")
    found: str = dspy.InputField(desc="Found so far")
    actions: list[str] = dspy.OutputField(desc="tool calls, at most three")
