"""Running a sweep: shards computed, written, resumed and put together."""

from .local import Outcome, Progress, Work, execute

__all__ = ["Outcome", "Progress", "Work", "execute"]
