"""The service over HTTP: memory, answers, personas and alignments behind `/v1`."""

from typing import TYPE_CHECKING

from personaagent.lazy import lazy

if TYPE_CHECKING:
    from personaagent.server.app import create_app
    from personaagent.server.settings import Settings

__all__ = ["Settings", "create_app"]

__getattr__, __dir__ = lazy(__name__)
