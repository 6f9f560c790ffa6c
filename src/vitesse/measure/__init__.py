"""What a network is worth and costs, measured: latency, the conditions it was measured under, accuracy."""

from vitesse.measure.accuracy import Accuracy, chance_level, top1
from vitesse.measure.conditions import Conditions, usable_cores
from vitesse.measure.latency import Comparison, Latency, compare, time_interleaved

__all__ = [
    "Accuracy",
    "Comparison",
    "Conditions",
    "Latency",
    "chance_level",
    "compare",
    "time_interleaved",
    "top1",
    "usable_cores",
]
