"""The options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from personaagent.lm import Budget

_LM, _BUDGET = "The language model", "Budget"

User = Annotated[str, typer.Option("--user", "-u", help="Whose data.", show_default=False)]
TaskName = Annotated[
    str | None,
    typer.Option("--task", "-t", help="The task; may be left out where the user has only one."),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="PERSONAAGENT_DB",
        help="The memory database: a file, or postgresql://user:password@host/database. "
        "By default memory.db in your data folder.",
        show_default=False,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document; progress goes to stderr.")
]
LMName = Annotated[
    str,
    typer.Option(
        "--lm",
        envvar="PERSONAAGENT_LM",
        help="embedded (local, no key), a path to a .gguf file, or a LiteLLM name such as "
        "openai/gpt-4o-mini or ollama_chat/llama3.",
        rich_help_panel=_LM,
    ),
]
ApiBase = Annotated[
    str | None,
    typer.Option(
        "--api-base",
        envvar="PERSONAAGENT_API_BASE",
        help="The address of an OpenAI-compatible server that serves the model.",
        rich_help_panel=_LM,
    ),
]
MaxCalls = Annotated[
    int | None,
    typer.Option("--max-calls", min=1, help="Stop after so many calls.", rich_help_panel=_BUDGET),
]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", min=1, help="Stop after so many tokens.", rich_help_panel=_BUDGET),
]
MaxMoney = Annotated[
    float | None,
    typer.Option("--max-money", min=0, help="Stop after so many dollars.", rich_help_panel=_BUDGET),
]


@dataclass(frozen=True, slots=True)
class LMChoice:
    """Which LM to use, and how much of it."""

    name: str
    api_base: str | None
    max_calls: int | None
    max_tokens: int | None
    max_money: float | None

    @property
    def budget(self) -> Budget | None:
        """The limits, None without any."""
        from personaagent.lm import Budget

        limits = (self.max_calls, self.max_tokens, self.max_money)
        return None if limits == (None, None, None) else Budget(*limits)
