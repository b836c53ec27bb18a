"""Parquet segments: every file whole and readable at every instant.

Points gather in memory. Each flush writes the newest file whole, under a temporary name, and renames it over
its own last version, though only its newest rows are encoded anew; at about 128k rows the file is sealed, sorted
as a whole, and the next begins. So a plain reader's glob sees every point once, at any instant.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fitgate._files import replace_bytes
from fitgate.store._batch import STEP, Block, blocks_of
from fitgate.store._late import SealedFile, replace_in_sealed
from fitgate.store._open_segment import OpenSegment
from fitgate.store._parquet import encode
from fitgate.store._schema import STAGES, Record
from fitgate.store._writer import PointsGoneError

__all__ = ["SEALED_ROWS", "SegmentWriter", "segment_name"]

SEALED_ROWS = 128_000


class SegmentWriter:
    """Writes the points of one (run, attempt, rank) as Parquet files; a `MetricWriter`.

    Args:
        folder: where the files go; made on the first flush, and again where it was removed.
        run_id, attempt, rank: the constants of every row.
        sealed_rows: rows after which a file is left for good and the next begins.
        name: what these files are, for messages.
        stages: of which records.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run_id: str,
        attempt: int = 0,
        rank: int = 0,
        sealed_rows: int = SEALED_ROWS,
        name: str = "Parquet files",
        stages: frozenset[str] = STAGES,
    ) -> None:
        self.name = name
        self.stages = stages
        self._folder = folder
        self._attempt = attempt
        self._rank = rank
        self._sealed_rows = sealed_rows
        self._pending: deque[Block] = deque()  # taken, and not yet in the open segment
        self._open = OpenSegment(run_id=run_id, attempt=attempt, rank=rank)
        self._unwritten = 0  # points that the open segment has and its file has not
        self._packed = True  # the newest file is as a sealed one is, so that closing needs no more writing
        self._begun = False
        self._sealed: list[SealedFile] = []  # by number; one that was removed has 0 rows
        self._newest: Path | None = None
        # The last step that sealed files hold, by (name, stage): a step at or under it may be there already.
        self._sealed_steps: dict[tuple[str, str], int] = {}
        self._lost = 0
        self._lost_told = 0  # how many of those were told
        self._gone: list[str] = []  # what is to be told of the others
        self._damaged: set[Path] = set()  # files of which was told that they can't be read

    @property
    def waiting(self) -> int:
        """Points taken that no file holds yet."""
        return self._unwritten + sum(block.points for block in self._pending)

    @property
    def lost(self) -> int:
        """Points that were on the disk and are no more, since somebody removed their files, and new values for such as can't be read."""
        return self._lost

    def write(self, records: Sequence[Record]) -> None:
        """Take records into memory."""
        self._pending.extend(blocks_of(records))

    def flush(self) -> None:
        """Write the newest file whole, if anything came since the last flush."""
        self._bring(last=False)

    def close(self) -> None:
        """Flush, and leave the newest file as a sealed one is left: packed well, and safe from a power cut."""
        self._bring(last=True)

    def _bring(self, *, last: bool) -> None:
        removed = self._removed()
        if removed:
            self._count_removed(removed)
        self._fill()
        while self._unwritten or (last and not self._packed):
            full = self._open.rows >= self._sealed_rows
            self._write_open(sealed=full or last)
            if full:
                self._seal()
            self._fill()
        if self._gone:  # all is done that can be; this is to be told
            news = PointsGoneError("; ".join(self._gone), self._lost - self._lost_told)
            self._gone, self._lost_told = [], self._lost
            raise news

    def _fill(self) -> None:
        """Move points into the open segment until that is full. Done twice it does the same, so an error in between loses nothing."""
        while self._pending and self._open.rows < self._sealed_rows:
            block = self._pending[0]
            room = -(-(self._sealed_rows - self._open.rows) // max(1, len(block.names)))
            rest = block.rows(slice(room, None))
            for part in self._new_points(block.rows(slice(room))):
                self._open.add(part)
                self._unwritten += part.points
            if rest.points:
                self._pending[0] = rest
            else:
                self._pending.popleft()

    def _new_points(self, block: Block) -> list[Block]:
        """What of the block no sealed file holds; what one does hold gets its new value there."""
        steps = block.axes[STEP]
        first = int(steps.min()) if len(steps) else 0
        late: dict[int, list[int]] = {}
        for i, name in enumerate(block.names):
            sealed = self._sealed_steps.get((name, block.stage), first - 1)
            if sealed >= first:
                late.setdefault(sealed, []).append(i)
        if not late:
            return [block]
        parts: list[Block] = []
        lost, damaged = 0, set[Path]()
        for sealed, columns in late.items():
            part = block.columns(columns)
            found = replace_in_sealed(self._sealed, part.rows(steps <= sealed))
            parts += [*found.new, part.rows(steps > sealed)]
            lost += found.lost
            damaged |= found.damaged
        # At last: an error above means that all is done again.
        self._lost += lost
        self._gone += [
            f"{path} can't be read, and new values for the steps that it may hold are lost" for path in sorted(damaged - self._damaged)
        ]
        self._damaged |= damaged
        on_time = sorted(set(range(len(block.names))).difference(*late.values()))
        return [*parts, block.columns(on_time)]

    def _write_open(self, *, sealed: bool) -> None:
        if not self._begun:
            self._begin()
        path = self._path(len(self._sealed))
        data = encode(self._open.tables()) if sealed else self._open.growing_file()
        try:
            replace_bytes(path, data, durable=sealed)
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_bytes(path, data, durable=sealed)
        self._newest = path
        self._unwritten = 0
        self._packed = sealed

    def _seal(self) -> None:
        steps = self._open.steps()
        for key, (_, step) in steps.items():
            self._sealed_steps[key] = max(step, self._sealed_steps.get(key, step))
        path = self._path(len(self._sealed))
        self._sealed.append(SealedFile(path, self._open.rows, steps, like=self._sealed[-1] if self._sealed else None))
        self._open.clear()
        self._packed = True

    def _begin(self) -> None:
        """Make the folder, and clear away what an earlier attempt was writing when it was killed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        first = f".{segment_name(self._attempt, self._rank, 0)}"
        for path in self._folder.glob(f".a*-r{self._rank:03d}-*.tmp"):
            if path.name < first:
                with suppress(OSError):
                    path.unlink()
        self._begun = True

    def _removed(self) -> list[Path]:
        """Which of our files are there no more: one listing tells, however many there are."""
        ours = [file.path for file in self._sealed if file.rows]
        if self._newest is not None:
            ours.append(self._newest)
        if len(ours) <= 1:
            return [path for path in ours if not path.exists()]
        try:
            there = set(os.listdir(self._folder))
        except (FileNotFoundError, NotADirectoryError):
            there = set()
        return [path for path in ours if path.name not in there]

    def _count_removed(self, removed: list[Path]) -> None:
        """Take stock after files were removed: the open one is to be written again, points of sealed ones are lost."""
        gone = 0
        for file in self._sealed:
            if file.rows and file.path in removed:
                gone += file.rows
                file.rows = 0
        self._lost += gone
        self._newest = None
        self._unwritten = max(self._unwritten, self._open.rows)
        lost = f"{gone} points that no other file held are lost" if gone else "they are written again, with all points"
        self._gone.append(f"{self.name} were removed; {lost}")

    def _path(self, number: int) -> Path:
        return self._folder / segment_name(self._attempt, self._rank, number)


def segment_name(attempt: int, rank: int, sequence: int) -> str:
    """A segment's file name. One attempt of one rank numbers its files for itself."""
    return f"a{attempt:03d}-r{rank:03d}-{sequence:06d}.parquet"
