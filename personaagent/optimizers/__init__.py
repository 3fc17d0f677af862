"""PersonaAlignment, the teleprompter that writes personas, and its exchangeable parts."""

from personaagent.optimizers.alignment import PersonaAlignment
from personaagent.optimizers.competing import Competing, ProseEdits
from personaagent.optimizers.drift import Drift, HabitsChanged, follow, look, tell, watch
from personaagent.optimizers.evidence import BETS, AcceptOnEvidence, Bet, Contests, pooled
from personaagent.optimizers.log import AlignmentLog, Candidate, Gradient, Step
from personaagent.optimizers.paper import PaperRewrite, as_in_the_paper
from personaagent.optimizers.pooling import pool
from personaagent.optimizers.prior import Prior, Start, read_prior
from personaagent.optimizers.replay import Replay, Replayed, Student
from personaagent.optimizers.rollback import Watched, watch_champion
from personaagent.optimizers.sampling import HardBatch, LatestBatch
from personaagent.optimizers.selection import AcceptOnReplay, AlwaysAccept, Trial
from personaagent.optimizers.setting import PAPER, Setting
from personaagent.optimizers.stopping import Patience
from personaagent.optimizers.update import FullRewrite, ItemisedEdits

__all__ = [
    "BETS",
    "PAPER",
    "AcceptOnEvidence",
    "AcceptOnReplay",
    "AlignmentLog",
    "AlwaysAccept",
    "Bet",
    "Candidate",
    "Competing",
    "Contests",
    "Drift",
    "FullRewrite",
    "Gradient",
    "HabitsChanged",
    "HardBatch",
    "ItemisedEdits",
    "LatestBatch",
    "PaperRewrite",
    "Patience",
    "PersonaAlignment",
    "Prior",
    "ProseEdits",
    "Replay",
    "Replayed",
    "Setting",
    "Start",
    "Step",
    "Student",
    "Trial",
    "Watched",
    "as_in_the_paper",
    "follow",
    "look",
    "pool",
    "pooled",
    "read_prior",
    "tell",
    "watch",
    "watch_champion",
]
