"""What an LM judge of texts is asked."""

from __future__ import annotations

from typing import Literal

import dspy


class WhoWrote(dspy.Signature):
    """Two texts answer the same message. One person wrote the examples. Which of the two is more
    likely by this person? Judge by how the person writes: length, form, greeting, sign-off, words,
    punctuation, attitude. Which of the two is the better text does not matter."""

    examples: str = dspy.InputField(desc="Texts of this person, and the messages they answer")
    message: str = dspy.InputField(desc="What both texts answer")
    first: str = dspy.InputField()
    second: str = dspy.InputField()
    written: Literal["first", "second"] = dspy.OutputField(desc="By this person")
