"""Set-up shared by all Python tests.

Hypothesis profiles, chosen by ``HYPOTHESIS_PROFILE`` or ``--hypothesis-profile``: ``dev`` (the
default, quick), ``smoke`` and ``ci`` (the same examples every time, so that a change is judged by
what it changes), ``fuzz`` (as many as ``ci``, other ones each time) and ``thorough``. A failure
prints the ``@reproduce_failure`` line that repeats it.
"""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# Test helpers are imported as `tests.<path>`. At the end, so that an installed wbcq comes first.
sys.path.append(str(Path(__file__).resolve().parent.parent))

# Drawing a network takes long next to drawing an integer.
SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]
PROFILES = {"dev": 20, "smoke": 20, "ci": 100, "fuzz": 100, "thorough": 2000}
for name, examples in PROFILES.items():
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        derandomize=name in ("smoke", "ci"),
        print_blob=True,
        suppress_health_check=SLOW_TO_DRAW,
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
