"""What tests of event tables share."""

import pytest
from event_tables import ONE

from thrombojax.dosing import events


@pytest.fixture
def read(tmp_path):
    def read(text, **changes):
        path = tmp_path / "t.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return events.read(path, **{"unit": "day", "doses": ONE, "interpolation": "locf", **changes})

    return read
