"""The action space Â = A ∪ D (paper, section 3.2): general tools A, personal-data tools D.

A tool is a `dspy.Tool`; what it returns is an observation. Those of D are bound to a situation, so
they cannot read another user's data, nor what the query must not see.
"""

from __future__ import annotations

import contextvars
import copy
import json
import logging
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import CodeType
from typing import Any

import dspy

from personaagent.data import Action, Choice
from personaagent.data.screening import withheld
from personaagent.data.words import one_line
from personaagent.errors import DataError, EmbeddingError, WeightsError
from personaagent.lm.model import ContextError
from personaagent.memory import Memory
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.scope import QueryScope

logger = logging.getLogger(__name__)

EARLIEST = datetime.min.replace(tzinfo=UTC)  # an interaction without a time counts as the oldest
LONGEST_QUOTE = 300  # characters of a past query that the LM is shown
LONGEST_OBSERVATION = 1500  # characters of what a general tool returned
MOST_MEMORIES = 8  # that the LM may ask for at once
MOST_RECALLED = 20  # by standing actions, where the caller's own number is not larger
LONGEST_SEARCH = 80  # characters of the LM's own search words


@dataclass(frozen=True, slots=True)
class Observation:
    """What an action found out: text for the LM, and the memories behind it."""

    action: Action
    text: str
    memories: tuple[Memory, ...] = ()
    failed: bool = False


def personal_tools(
    retriever: MemoryRetriever, situation: QueryScope, profile: str, *, standing: bool = False
) -> list[dspy.Tool]:
    """D: the tools that read this user's data, as far as the situation allows.

    Standing actions may recall more than an LM may ask for.
    """
    task = situation.task
    most = max(MOST_RECALLED, retriever.k)  # a caller's own number stands

    # A standing action may also name its `retriever`, and words to search `beside` the query, which
    # the persona has learned; the LM is not told of them.
    def recall(
        query: str = "", k: int = retriever.k, beside: str = "", **other: str
    ) -> tuple[str, tuple[Memory, ...]]:
        """Search this user's past answers by your own search words; k is how many, mostly 4."""
        searched = f"{query or situation.query} {beside}" if beside else query
        memories = retriever(situation, text=searched, k=max(1, min(k, most)), **other).memories
        lines = [
            task.example(quote(memory.interaction.query), memory.interaction.response)
            for memory in reversed(memories)  # the best one nearest to the question
        ]
        return "\n".join(lines), tuple(memories)

    def habits() -> tuple[str, tuple[Memory, ...]]:
        """Count this user's past answers by label."""
        past = retriever.memory.store.of(situation.user).interactions(
            task.name, before=situation.before
        )
        counts = Counter(one.response for one in past if one.id not in situation.exclude)
        said = ", ".join(f"{label} ({n})" for label, n in counts.most_common() if label)
        return f"The user's {task.answers} so far: {said}" if said else "", ()

    def read_profile() -> tuple[str, tuple[Memory, ...]]:
        """Read the summary of this user."""
        return profile, ()

    bound = most if standing else MOST_MEMORIES
    bounded = {"type": "integer", "minimum": 1, "maximum": bound}
    words = {"type": "string", "maxLength": LONGEST_SEARCH}
    tools = [_tool(recall, args={"query": words, "k": bounded}, bound=bound)]
    if task.labels and not isinstance(task, Choice):
        tools.append(_tool(habits))
    if profile:
        tools.append(_tool(read_profile))
    return tools


def _tool(
    function: Callable[..., Any], args: dict[str, Any] | None = None, bound: int = 0
) -> dspy.Tool:
    """`dspy.Tool(function, args=args)` of a function that is made anew for every query: what its
    signature says takes longer to read than the rest of an answer, so it is read once. `bound` is
    what alone differs in the arguments of one function."""
    kind = function.__code__, bound
    if (said := _SAID.get(kind)) is None:
        read = dict(dspy.Tool(function, args=args))
        del read["func"]  # it holds a user's profile
        said = _SAID[kind] = read
    return _PersonalTool.model_construct(**copy.deepcopy(said), func=function, bound=bound)


_SAID: dict[tuple[CodeType, int], dict[str, Any]] = {}


class _PersonalTool(dspy.Tool):
    """Checks the same numbers once: standing actions ask with the same ones every time, and
    DSPy's check takes longer than the search. Words are a user's, and not kept here."""

    bound: int = 0

    def _validate_and_parse_args(self, **given: Any) -> dict[str, Any]:
        asked = (self.func.__code__, self.bound, *given.items())
        plain = all(type(one) is int for one in given.values())
        if plain and asked in _CHECKED:
            return given
        parsed: dict[str, Any] = super()._validate_and_parse_args(**given)
        if plain and given.keys() <= (self.args or {}).keys():
            _CHECKED.add(asked)
        return parsed


_CHECKED: set[tuple[Any, ...]] = set()


def general_tools(tools: Sequence[dspy.Tool | Callable[..., Any]]) -> list[dspy.Tool]:
    """A: what a caller gives as tools, plain functions made into `dspy.Tool`s.

    Raises:
        DataError: one of them can be neither.
    """
    if isinstance(tools, str | dspy.Tool) or not isinstance(tools, Iterable):
        raise DataError(f"tools is of type {type(tools).__name__}: give a list of tools")
    made = []
    for at, one in enumerate(tools):
        if not callable(one):
            raise DataError(
                f"tools[{at}] is of type {type(one).__name__}: give a dspy.Tool or a function"
            )
        made.append(one if isinstance(one, dspy.Tool) else dspy.Tool(one))
    return made


def wikipedia(query: str) -> str:
    """Search Wikipedia for facts about the world, never about the user."""
    address = "https://en.wikipedia.org/w/api.php?" + urllib.parse.urlencode(
        {
            "action": "query",
            "format": "json",
            "generator": "search",
            "gsrsearch": query,
            "gsrlimit": 1,
            "prop": "extracts",
            "exintro": 1,
            "explaintext": 1,
        }
    )
    request = urllib.request.Request(address, headers={"User-Agent": "personaagent"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            pages = json.load(answer).get("query", {}).get("pages", {})
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        return f"Wikipedia cannot be reached from here ({error}): answer without it."
    found = [f"{page['title']}: {page.get('extract', '')}" for page in pages.values()]
    return found[0] if found else f"Wikipedia has no article for '{query}'."


def run(actions: Sequence[Action], tools: Sequence[dspy.Tool]) -> list[Observation]:
    """Call the tools side by side; one that fails is an observation, not a crash.

    Raises:
        EmbeddingError, WeightsError: nothing can be searched in memory.
    """
    by_name = {tool.name: tool for tool in tools}

    def call(action: Action) -> Observation:
        if action.tool not in by_name:
            return Observation(action, f"There is no tool '{action.tool}'.", failed=True)
        try:
            with dspy.context(allow_tool_async_sync_conversion=True):  # MCP tools are async
                result = by_name[action.tool](**action.arguments)
        except (EmbeddingError, WeightsError):
            raise  # without its memory the answer would be another, and nobody would know
        except Exception as error:  # a user's tool may raise anything
            return Observation(action, withheld(f"{action.tool} failed: {error}"), failed=True)
        match result:
            case (str(text), tuple(memories)):
                return Observation(action, text, memories)
            case _:  # a general tool, whose text may be anybody's
                return Observation(action, withheld(str(result))[:LONGEST_OBSERVATION])

    if len(actions) < 2:
        return [call(action) for action in actions]
    contexts = [contextvars.copy_context() for _ in actions]
    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(lambda context, action: context.run(call, action), contexts, actions))


def within_context(
    answer: Callable[[Sequence[Observation]], dspy.Prediction], observations: Sequence[Observation]
) -> tuple[dspy.Prediction, list[Observation]]:
    """The answer with as many memories as the LM's context holds, the oldest left out first; and
    what was shown.

    Raises:
        ContextError: it does not fit without any memory.
    """
    shown = list(observations)
    while True:
        try:
            return answer(shown), shown
        except ContextError:
            shorter = _without_oldest(shown)
            if shorter is None:
                raise
            left = sum(len(seen.memories) for seen in shown)
            kept = sum(len(seen.memories) for seen in shorter)
            logger.warning(
                "the prompt is too long for the LM: %d of %d memories are shown, the latest ones",
                kept,
                left,
            )
            shown = shorter


def _without_oldest(observations: Sequence[Observation]) -> list[Observation] | None:
    """Without the older half of the memories; None where there are none."""
    dated = sorted(
        {
            memory.interaction.id: memory for seen in observations for memory in seen.memories
        }.values(),
        key=lambda memory: memory.interaction.time or EARLIEST,
    )
    if not dated:
        return None
    dropped = {memory.interaction.id for memory in dated[: (len(dated) + 1) // 2]}
    return [_without(seen, dropped) if seen.memories else seen for seen in observations]


def _without(seen: Observation, dropped: Collection[str]) -> Observation:
    """The observation without the lines of these memories; a line each, the best one last."""
    kept = tuple(one for one in seen.memories if one.interaction.id not in dropped)
    lines = seen.text.split("\n")
    lines = lines if len(lines) == len(seen.memories) else []
    text = [
        line
        for line, one in zip(lines, reversed(seen.memories), strict=False)
        if one.interaction.id not in dropped
    ]
    return replace(seen, text="\n".join(text), memories=kept)


def quote(text: str) -> str:
    """A text on one line, cut at `LONGEST_QUOTE` characters."""
    return one_line(text, LONGEST_QUOTE)
