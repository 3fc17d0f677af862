"""The family of errors: each message says what happened, where, and what to do about it."""


class PersonaAgentError(Exception):
    """Anything that PersonaAgent refuses or cannot do; the command line prints it and exits 1.

    >>> from personaagent import Classification
    >>> try:
    ...     Classification("inbox", "Which folder?", labels=("work",))
    ... except PersonaAgentError as error:
    ...     print(type(error).__name__)
    DataError
    """


class DataError(PersonaAgentError):
    """Input that breaks the contract of an interaction, a query or a task."""

    @classmethod
    def at(cls, where: str, line: int | str, field: str, problem: str) -> "DataError":
        """Name the file, the line (or record) and the field of the offence."""
        return cls(f"{where}: line {line}: field '{field}': {problem}")


class StoreError(PersonaAgentError):
    """The database cannot be used as it is."""


class ConflictError(StoreError):
    """Somebody published another persona in between: read it and try again."""


class BusyError(ConflictError):
    """Somebody else is at work on this user's persona."""


class ArtifactError(PersonaAgentError):
    """An exported persona that is damaged, changed or of a newer schema."""


class WeightsError(PersonaAgentError):
    """Model weights that are missing, incomplete or not the ones that were pinned."""


class EmbeddingError(PersonaAgentError):
    """An embedding endpoint failed after its retries, or answered in a form that cannot be used."""


class LMError(PersonaAgentError):
    """The LM failed after its retries, or answered in a form that cannot be used."""


class BudgetError(LMError):
    """The next call would exceed the budget of calls, tokens or money."""


class FormError(LMError):
    """The LM answered, in a form that cannot be read."""
