import pytest

from pipeline import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have passed, for the test to change."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("done", "left"), [(0, 20), (20, 10)])
def test_what_was_done_before_says_nothing_about_what_is_left(
    done: int, left: int, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.bar("training", 120, "step", done) as shown:
        clock[0] += 40
        shown.update(80)
    assert capsys.readouterr().err.splitlines()[0] == f"training: {done + 80}/120 step in 40 s, {left} s left"
