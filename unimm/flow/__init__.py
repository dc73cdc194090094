"""Flow matching: the straight path between data and noise, its loss, guidance and solvers.

Time: t = 0 is data, t = 1 is noise. A room that knows no network: it is given `velocity(x_t, t) -> v`.
"""

from unimm.flow.density import dimension_alpha, logit_normal, shift
from unimm.flow.grids import clean_grid, scale_rae_grid, scale_rae_transitions
from unimm.flow.guidance import NEVER, guided
from unimm.flow.loss import velocity_loss
from unimm.flow.path import interpolate, velocity_target
from unimm.flow.prediction import PREDICTIONS
from unimm.flow.solver import euler, integrate_transitions

__all__ = [
    "NEVER",
    "PREDICTIONS",
    "clean_grid",
    "dimension_alpha",
    "euler",
    "guided",
    "integrate_transitions",
    "interpolate",
    "logit_normal",
    "scale_rae_grid",
    "scale_rae_transitions",
    "shift",
    "velocity_loss",
    "velocity_target",
]
