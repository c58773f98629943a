import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from google_standin import GoogleStandIn  # noqa: E402


@pytest.fixture
def google():
    with GoogleStandIn() as standin:
        yield standin
