"""Run ids: they sort by time and read well, such as `20261123-084001-quiet-otter`."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime

import coolname

from fitgate.errors import StoreError

__all__ = ["UNFIT", "check_run_id", "new_run_id"]

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 100  # of a run's name, in its id: a folder's name may have 255 bytes. run.json has all of it
_ONE_NAME = re.compile(r"[^/\\\x00-\x1f\x7f-\x9f]+")
# Names must not follow the seed of a training, or two runs with one seed would get one name;
# and drawing them must not move the training's random numbers.
coolname.replace_random(random.SystemRandom())
_UNFIT_WORDS = (
    # of people: where they come from, what they love, how they look, feel and believe
    "aboriginal bald berserk blond chubby crazy curvy daffy daft devout emotional fanatic fat gay girlish hairy heretic hysterical",
    "illegal imported liberal lumpy macho married meek military mutant native naughty notorious orthodox petite primitive psychedelic pygmy",
    "radical righteous sexy shapeless skinny stereotyped straight swinging unnatural woodoo",
    # a reproach, or with a second meaning
    "aggressive annoying arrogant belligerent cocky demonic kickass loutish manipulative meaty sarcastic sloppy snobbish sticky tacky",
    "talkative uncovered uppish uptight",
    # beasts that people are called, to hurt them
    "ape baboon beaver bonobo booby bustard chimpanzee cougar cow cuckoo gorilla hippo hog hyena leech loon macaque mongrel monkey",
    "orangutan pig rat shrew skunk slug snake stallion swine vulture weasel whale worm",
)
UNFIT = frozenset(word for line in _UNFIT_WORDS for word in line.split())
"""Words of the library's that a run's name does without: it is read out in meetings and stands in reports, and nobody chose it."""


def new_run_id(name: str | None = None, now: datetime | None = None) -> str:
    """A new id, led by the run's name where it has one.

    Example:
        >>> new_run_id("digits", datetime(2026, 11, 23, 8, 40, 1, tzinfo=UTC))[:23]
        'digits-20261123-084001-'
    """
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
    slug = "-".join(_fit_words())
    prefix = _UNSAFE.sub("-", name)[:_LONGEST].strip("-.") if name else ""
    return f"{prefix}-{stamp}-{slug}" if prefix else f"{stamp}-{slug}"


def _fit_words() -> list[str]:
    """An adjective and an animal; drawn again where one of them could offend."""
    while not UNFIT.isdisjoint(words := coolname.generate(2)):
        pass
    return words


def check_run_id(run_id: object) -> str:
    """An id from elsewhere, such as a checkpoint: the name of one folder, and no way out of the store.

    Raises:
        StoreError: it is none.
    """
    if not isinstance(run_id, str) or not run_id or run_id.startswith(".") or not _ONE_NAME.fullmatch(run_id):
        message = f"{run_id!r} is no run's id, which is the name of one folder, such as 20261123-084001-quiet-otter"
        raise StoreError(message)
    return run_id
