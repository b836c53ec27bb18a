"""How runs are named."""

import random
from collections.abc import Iterator

import coolname
import pytest

from fitgate.store._names import UNFIT, new_run_id


class EveryOne:
    """In the place of a random number: every thousandth or so, so that each word comes soon."""

    def __init__(self) -> None:
        self.drawn = 0
        self.of = 1

    def randrange(self, stop: int) -> int:
        self.of = stop
        self.drawn += 997
        return self.drawn % stop


@pytest.fixture
def every_one() -> Iterator[EveryOne]:
    """The library draws all its names, one after the other."""
    turn = EveryOne()
    coolname.replace_random(turn)  # type: ignore[arg-type]  # it draws with randrange alone
    yield turn
    coolname.replace_random(random.SystemRandom())


def test_no_run_is_named_by_a_word_that_could_offend(every_one: EveryOne) -> None:
    """Of all names that the library can make, none with such a word comes; by itself it would make some."""
    drawn = {word for _ in range(2000) for word in coolname.generate(2)}
    assert not UNFIT.isdisjoint(drawn)
    every_one.drawn, seen = 0, set()
    while every_one.drawn < 100 * every_one.of:
        seen.update(new_run_id().split("-")[2:])
    assert UNFIT.isdisjoint(seen)
    assert len(seen) > 800
    assert {"quiet", "otter"} <= seen
