"""What lives longer than a call: the trainer of personas, for one user or many, and the worker."""

from typing import TYPE_CHECKING

from personaagent.lazy import lazy

if TYPE_CHECKING:
    from personaagent.service.many import TrainedUsers, train
    from personaagent.service.publish import Compiled
    from personaagent.service.trainer import Trained, Trainer

__all__ = ["Compiled", "Trained", "TrainedUsers", "Trainer", "train"]

__getattr__, __dir__ = lazy(__name__)
