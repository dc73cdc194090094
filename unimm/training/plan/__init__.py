"""What a run will need, before it is started: memory per device and host, time of a step, days, tokens.

Nothing is allocated: modules are built of shapes, and their passes run on shapes, so a model of twelve
billion parameters takes seconds. What cannot be counted is an assumption with a name (`Assumptions`).
"""

from unimm.training.plan.estimate import Estimate, estimate
from unimm.training.plan.hardware import DEVICES, Assumptions, Device
from unimm.training.plan.workload import Workload

__all__ = ["DEVICES", "Assumptions", "Device", "Estimate", "Workload", "estimate"]
