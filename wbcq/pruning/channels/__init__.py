"""Channel pruning: a smaller dense network, whatever joins, splits or shuffles the channels.

Every channel of every value has a label; operators say which labels stand or fall together
(:mod:`~wbcq.pruning.channels.dependencies`). What stands together is scored
(:mod:`~wbcq.pruning.channels.importance`) and chosen under a budget
(:mod:`~wbcq.pruning.channels.selection`); the rest is cut out of a copy of the module
(:mod:`~wbcq.pruning.channels.surgery`).
"""

from __future__ import annotations

from wbcq.pruning.channels.api import ChannelPlan, plan_channels, prune_channels
from wbcq.pruning.channels.network import ChannelNetwork

__all__ = ["ChannelNetwork", "ChannelPlan", "plan_channels", "prune_channels"]
