"""What the tests of several stages start from."""

from pathlib import Path

import pytest

from tests.stages.chain import Chain


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """A chain whose source network is trained; what a test trains, it trains in this process."""
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain = Chain(tmp_path)
    chain.train_source()
    return chain
