"""The options that several commands share.

A command with a parameter `given: Given` shows the options of Given's fields in its place, see
`grouped` in `personaagent.cli.app`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from personaagent.errors import DataError
from personaagent.policies import ACCEPTANCES, AUTO, RETRIEVERS, SAMPLERS, UPDATES
from personaagent.registry import Registry

if TYPE_CHECKING:
    from personaagent.lm import Budget


_LM, _BUDGET, _ALIGNMENT = "The language model", "Budget", "Alignment"


def configure(context: typer.Context, path: Path | None) -> Path | None:
    """Take options from a file, where the command line does not give them."""
    if path is not None:
        from personaagent.optimizers.setting import read_choices

        context.default_map = {**(context.default_map or {}), **read_choices(path)}
    return path


def preset(context: typer.Context, name: str | None) -> str | None:
    """Take the options of a preset, where neither the command line nor a file gives them."""
    if name is not None:
        from personaagent.optimizers.setting import PRESETS

        context.default_map = {**PRESETS[name].to_dict(), **(context.default_map or {})}
    return name


def as_user(id: str | None) -> str | None:
    """A user id as it was typed, in the form in which users are known."""
    from personaagent.data.normal import normal

    return None if id is None else normal(id)


def as_users(ids: list[str]) -> list[str]:
    """The same of several."""
    return [normal for id in ids if (normal := as_user(id)) is not None]


def as_text(text: str) -> str:
    """A text as it was typed, without bytes that are no characters."""
    from personaagent.data.normal import whole

    return whole(text)


User = Annotated[
    str,
    typer.Option("--user", "-u", help="Whose data.", show_default=False, callback=as_user),
]


def _named(flag: str, registry: Registry[Any], *beside: str, help: str) -> Any:
    """An option that takes a name in a registry; help shows its own parts as the choices.

    Args:
        flag: of the option.
        registry: of the parts.
        beside: names that stand for no part.
        help: what it decides.
    """

    def known(name: str) -> str:
        try:
            return name if name in beside else registry.known(name)
        except DataError as error:
            raise typer.BadParameter(str(error)) from None

    choices = "|".join([*beside, *registry.ours])
    return typer.Option(
        flag, parser=known, metavar=f"[{choices}]", help=help, rich_help_panel=_ALIGNMENT
    )


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
SkipMalformed = Annotated[
    bool,
    typer.Option(
        "--skip-malformed",
        help="Leave records that break the format and say which; without it the first is an error.",
    ),
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(
        "--engine",
        help="Who does the work: this process, or a Ray cluster (RAY_ADDRESS, else one on this "
        "machine).",
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
GradientLM = Annotated[
    str | None,
    typer.Option(
        "--gradient-lm",
        help="Another, larger LM that writes the gradients and updates.",
        rich_help_panel=_LM,
    ),
]
GradientBase = Annotated[
    str | None,
    typer.Option(
        "--gradient-api-base",
        help="The address of the server that serves the gradient LM. Without it a model without a "
        "provider's name is asked where --lm is.",
        rich_help_panel=_LM,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=configure,
        is_eager=True,  # before the options that it gives
        help="A JSON or TOML file of alignment options, such as 'tune' writes; what the command "
        "line gives goes before it.",
        rich_help_panel=_ALIGNMENT,
    ),
]
Preset = Annotated[
    Literal["paper"] | None,
    typer.Option(
        "--preset",
        callback=preset,
        is_eager=True,
        help="All options of alignment at once: paper is the paper's own way. What the command "
        "line or --config gives goes before it.",
        rich_help_panel=_ALIGNMENT,
    ),
]
Iterations = Annotated[int, typer.Option(min=1, help="Steps at most.", rich_help_panel=_ALIGNMENT)]
Batch = Annotated[
    int, typer.Option(min=1, help="Interactions per step.", rich_help_panel=_ALIGNMENT)
]
TopK = Annotated[
    int,
    typer.Option(
        "--top-k",
        "-k",
        min=1,
        max=8,
        help="Memories that the persona's own recall shows the LM.",
        rich_help_panel=_ALIGNMENT,
    ),
]
ReplayCount = Annotated[
    int,
    typer.Option(
        "--replay", min=0, help="Interactions held out to judge by.", rich_help_panel=_ALIGNMENT
    ),
]
UpdateName = Annotated[
    str,
    _named(
        "--update",
        UPDATES,
        AUTO,
        help="Single directives, the whole persona, the paper's system prompt, or what suits the "
        "task and the LM.",
    ),
]
AcceptName = Annotated[
    str,
    _named(
        "--accept",
        ACCEPTANCES,
        help="Accept what does better on replay, what has enough evidence over all alignments, or "
        "always, as in the paper: then nothing is held out or replayed.",
    ),
]
SamplerName = Annotated[
    str,
    _named(
        "--sampler",
        SAMPLERS,
        AUTO,
        help="Learn from what surprises most, from the latest, as in the paper, or as suits "
        "the LM.",
    ),
]
RetrieverName = Annotated[
    str,
    _named(
        "--retriever",
        RETRIEVERS,
        help="How the persona's own recall searches.",
    ),
]
ProfileWords = Annotated[
    int,
    typer.Option(
        "--profile",
        min=5,
        max=200,
        help="Words that a first profile may have.",
        rich_help_panel=_ALIGNMENT,
    ),
]
LongestProfile = Annotated[
    int,
    typer.Option(
        "--longest",
        min=0,
        max=1000,
        help="Words that a longer first profile may have. A long history is described in it with "
        "what can be counted; it is taken where it does better on replay. 0 for none.",
        rich_help_panel=_ALIGNMENT,
    ),
]
SensitiveName = Annotated[
    Literal["keep", "mask", "leave-out"],
    typer.Option(
        "--sensitive",
        help="What becomes of health, belief, orientation, politics, money and identity in what a "
        "persona says of the user: kept, the words masked, or the statement left out.",
        rich_help_panel=_ALIGNMENT,
    ),
]
Recalling = Annotated[
    bool | None,
    typer.Option(
        "--recall/--no-recall",
        help="For conversations: whether the persona recalls earlier messages for each question, "
        "too; by default as it did, at first not.",
        show_default=False,
        rich_help_panel=_ALIGNMENT,
    ),
]
PriorFile = Annotated[
    Path | None,
    typer.Option(
        "--prior",
        help="Where a new persona starts: what 'pool' learned on other users.",
        rich_help_panel=_ALIGNMENT,
    ),
]
Seed = Annotated[int, typer.Option(help="Decides what is held out.", rich_help_panel=_ALIGNMENT)]


@dataclass(frozen=True, slots=True)
class LMChoice:
    """Which LM to use, and how much of it; the options of every command that asks one."""

    lm: LMName = "embedded"
    api_base: ApiBase = None
    slots: Annotated[
        int,
        typer.Option(
            min=1,
            help="Calls side by side. On this machine more of them write more in the same time, "
            "and each takes memory for a whole context.",
            rich_help_panel=_LM,
        ),
    ] = 2
    likelihoods: Annotated[
        bool | None,
        typer.Option(
            "--likelihoods/--no-likelihoods",
            help="Whether the LM gives log-probabilities. Found out by asking where not said.",
            rich_help_panel=_LM,
            show_default=False,
        ),
    ] = None
    reasoning: Annotated[
        bool | None,
        typer.Option(
            "--reasoning/--no-reasoning",
            help="Whether the LM thinks before it answers, and needs room for that. Found out by "
            "asking where not said.",
            rich_help_panel=_LM,
            show_default=False,
        ),
    ] = None
    max_output: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The most tokens that the LM writes at once, thought included.",
            rich_help_panel=_LM,
        ),
    ] = None
    fallback_lm: Annotated[
        str | None,
        typer.Option(
            "--fallback-lm",
            envvar="PERSONAAGENT_FALLBACK_LM",
            help="Another LM, which answers while the first is down or out of quota.",
            rich_help_panel=_LM,
        ),
    ] = None
    fallback_api_base: Annotated[
        str | None,
        typer.Option(
            "--fallback-api-base",
            envvar="PERSONAAGENT_FALLBACK_API_BASE",
            help="The address of the server that serves it.",
            rich_help_panel=_LM,
        ),
    ] = None
    max_calls: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many calls.", rich_help_panel=_BUDGET)
    ] = None
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many tokens.", rich_help_panel=_BUDGET)
    ] = None
    max_money: Annotated[
        float | None,
        typer.Option(min=0, help="Stop after so many dollars.", rich_help_panel=_BUDGET),
    ] = None

    @property
    def budget(self) -> Budget | None:
        """The limits, None without any."""
        from personaagent.lm import Budget

        limits = (self.max_calls, self.max_tokens, self.max_money)
        return None if limits == (None, None, None) else Budget(*limits)
