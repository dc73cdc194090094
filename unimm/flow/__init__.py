"""Flow matching: the straight path between data and noise, its loss, guidance and solvers.

Time: t = 0 is data, t = 1 is noise. A room that knows no network: it is given `velocity(x_t, t) -> v`.
"""

from unimm.flow.adaptive import dopri5, dopri5_past_end
from unimm.flow.ddpm import ddpm_velocity
from unimm.flow.densities import DENSITIES, Density
from unimm.flow.density import logit_normal
from unimm.flow.grids import GRIDS, clean_grid, scale_rae_grid, scale_rae_transitions
from unimm.flow.guidance import ALWAYS, NEVER, autoguided, channel_guided, guided
from unimm.flow.loss import directed_loss, direction_loss, path_loss, velocity_loss
from unimm.flow.path import (
    data_of,
    interpolate,
    noise_of,
    score_of,
    velocity_of_data,
    velocity_of_noise,
    velocity_of_score,
    velocity_target,
)
from unimm.flow.paths import PATHS, Path
from unimm.flow.policy import grpo_step, grpo_trajectory
from unimm.flow.prediction import PREDICTIONS
from unimm.flow.preference import dpo_loss, preference_loss
from unimm.flow.sde import DIFFUSIONS, draws, euler_maruyama, heun_maruyama, renoising
from unimm.flow.shifting import dimension_alpha, dynamic_alpha, dynamic_mu, resolution_alpha, shift
from unimm.flow.solver import (
    euler,
    heun,
    heun_euler_last,
    integrate_transitions,
    midpoint,
    rk4,
    rk4_38,
)
from unimm.flow.solvers import SOLVERS
from unimm.flow.weights import WEIGHTS, Weight

__all__ = [
    "ALWAYS",
    "DENSITIES",
    "DIFFUSIONS",
    "GRIDS",
    "NEVER",
    "PATHS",
    "PREDICTIONS",
    "SOLVERS",
    "WEIGHTS",
    "Density",
    "Path",
    "Weight",
    "autoguided",
    "channel_guided",
    "clean_grid",
    "data_of",
    "ddpm_velocity",
    "dimension_alpha",
    "directed_loss",
    "direction_loss",
    "dopri5",
    "dopri5_past_end",
    "dpo_loss",
    "draws",
    "dynamic_alpha",
    "dynamic_mu",
    "euler",
    "euler_maruyama",
    "grpo_step",
    "grpo_trajectory",
    "guided",
    "heun",
    "heun_euler_last",
    "heun_maruyama",
    "integrate_transitions",
    "interpolate",
    "logit_normal",
    "midpoint",
    "noise_of",
    "path_loss",
    "preference_loss",
    "renoising",
    "resolution_alpha",
    "rk4",
    "rk4_38",
    "scale_rae_grid",
    "scale_rae_transitions",
    "score_of",
    "shift",
    "velocity_loss",
    "velocity_of_data",
    "velocity_of_noise",
    "velocity_of_score",
    "velocity_target",
]
