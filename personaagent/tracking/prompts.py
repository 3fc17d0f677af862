"""Personas in MLflow's prompt registry: a prompt for every user and task, a version a persona.

`mlflow.genai.load_prompt("prompts:/persona.inbox.amira@champion").format()` is the system prompt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from personaagent.data import Persona
from personaagent.tracking import connection

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from personaagent.optimizers.log import AlignmentLog

CHAMPION, CHALLENGER = "champion", "challenger"
"""The aliases: the published persona, and the best one that it was preferred to."""

_HASH = "personaagent.hash"
_AT_ONCE = 100
# What Jinja would not give back as it stands: its openers, and the ends of lines that it tidies up;
# with the braces before them, which would join the opener that takes their place.
_SPECIAL = re.compile(r"\{*(?:\{[{%#]|\r|\n\Z)")


def register(
    persona: Persona, *, challenger: Persona | None = None, tracking_uri: str | None = None
) -> str | None:
    """Make a persona the `champion` of its user's prompt; one that is registered stays one version.

    Args:
        persona: the published one.
        challenger: gets the other alias; without it nobody has that.
        tracking_uri: as for `track`.

    Returns:
        The address of the version, `prompts:/name/number`, or None, after a `TrackingWarning`,
        when MLflow cannot be used.
    """
    uri = connection.address(tracking_uri)
    try:
        return publish(connection.connect(uri), persona, challenger)
    except Exception as error:  # MLflow, its databases and its servers raise anything
        connection.warn(uri, error, "the persona is not registered", level=2)
        return None


def publish(
    client: MlflowClient, champion: Persona, challenger: Persona | None, *, run: str | None = None
) -> str:
    """Register personas and set the aliases; the address of the champion.

    Args:
        run: the id of the run that they come from.

    Raises:
        MlflowException: the registry refuses it.
    """
    name = prompt_name(champion)
    prompt = client.get_prompt(name)
    if prompt is None:
        tags = {connection.USER: champion.user, "personaagent.task": champion.task}
        client.create_prompt(name, description="A persona of PersonaAgent", tags=tags)
    known = _versions(client, name)
    # The challenger first: readers see the highest number as the latest.
    for alias, persona in ((CHALLENGER, challenger), (CHAMPION, champion)):
        if persona is None:
            if prompt is not None:  # deleting what is not there is no error
                client.delete_prompt_alias(name, alias)
            continue
        if persona.hash not in known:
            known[persona.hash] = _create(client, name, persona, alias, run)
        client.set_prompt_alias(name, alias, known[persona.hash])
    return f"prompts:/{name}/{known[champion.hash]}"


def challenger_of(log: AlignmentLog) -> Persona | None:
    """The best candidate of an alignment that was not accepted."""
    refused = [
        (one.loss, one.persona)
        for step in log.steps
        for at, one in enumerate(step.candidates)
        if at != step.accepted
    ]
    others = [(loss, persona) for loss, persona in refused if persona.hash != log.last.hash]
    return min(others, key=lambda pair: pair[0])[1] if others else None


def prompt_name(persona: Persona) -> str:
    """`persona.task.user`; what the registry forbids, and dots, as `_` and hexadecimal bytes."""
    return ".".join(["persona", *map(_name, (persona.task, persona.user))])


def template(text: str) -> str:
    """A prompt template whose `format()` is the text, whatever braces stand in it."""
    if "{{" not in text and "{%" not in text:
        return text
    # MLflow reads a template with a block as Jinja, which can quote what would be a variable.
    return "{% raw %}{% endraw %}" + _SPECIAL.sub(lambda found: f"{{{{ {found[0]!r} }}}}", text)


def _create(client: MlflowClient, name: str, persona: Persona, alias: str, run: str | None) -> int:
    tags = {_HASH: persona.hash, "personaagent.version": str(persona.version)}
    made = client.create_prompt_version(
        name,
        template(persona.render()),
        description=f"Persona version {persona.version}, {alias} when it was registered",
        tags=tags | ({"personaagent.mlflow_run": run} if run else {}),
    )
    return int(made.version)


def _versions(client: MlflowClient, name: str) -> dict[str, int]:
    """The numbers of the registered personas by hash."""
    found: dict[str, int] = {}
    token: Any = None
    while True:
        page = client.search_prompt_versions(name, max_results=_AT_ONCE, page_token=token)
        found |= {one.tags[_HASH]: int(one.version) for one in page if _HASH in one.tags}
        token = page.token
        if not token:
            return found


def _name(text: str) -> str:
    return re.sub(
        r"[^A-Za-z0-9-]",
        lambda found: "".join(f"_{byte:02X}" for byte in found[0].encode()),
        text,
    )
