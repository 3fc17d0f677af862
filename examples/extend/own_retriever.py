"""A retriever of your own: how memories are chosen for a query."""

from personaagent.memory.retrieval import Ranking, Scope
from personaagent.policies import RETRIEVERS


class Beginnings:
    """What begins with the same word as the query, then what means the same."""

    def rank(self, scope: Scope, query: str, k: int) -> Ranking:
        first = query.casefold().split()[:1]
        texts = dict(zip(scope.seqs.tolist(), scope.texts(), strict=True))
        found = [seq for seq, text in texts.items() if text.casefold().split()[:1] == first]
        rest = [(seq, score) for seq, score in scope.nearest(query, k) if seq not in found]
        return [*((seq, 1.0) for seq in found), *rest][:k]


RETRIEVERS.add("beginnings", Beginnings)  # PersonaAgent(task, memory, retriever="beginnings")
