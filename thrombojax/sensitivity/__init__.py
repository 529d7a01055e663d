"""What decides what: global and local sensitivity of endpoints and of saved times to parameters, doses and rules.

`run` is a whole study; `sobol` is of any vectorised function of factors.
"""

from .distributions import Distribution
from .factors import Factor, Space
from .results import Outcome, run
from .sobol import Sobol, sobol

__all__ = ["Distribution", "Factor", "Outcome", "Sobol", "Space", "run", "sobol"]
