"""A tool of your own: a function with a docstring; the persona decides when it is used."""

from personaagent import EpisodicMemory, PersonaAgent
from personaagent.data import Task

HOLIDAYS = {"2026-12-25": "Christmas Day", "2027-01-01": "New Year's Day"}


def holiday(day: str) -> str:
    """The public holiday on a day, given as YYYY-MM-DD."""
    return HOLIDAYS.get(day, "no holiday")


def agent(task: Task, memory: EpisodicMemory) -> PersonaAgent:
    return PersonaAgent(task, memory, tools=[holiday])
