"""For all tests: properties are checked without a deadline, and in CI on the same examples each time."""

import os

from hypothesis import settings

# A busy machine is no reason to fail, and a run of CI is to be repeatable; by hand, new examples are drawn each time.
settings.register_profile("tests", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tests")
