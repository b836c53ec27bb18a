"""The export tried out before training: what can't be written is told in the first minute, and not after the last epoch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fitgate.errors import ExportError
from fitgate.export._eager import undisturbed
from fitgate.export._subject import rehearsal
from fitgate.export._watch import unchanged
from fitgate.export.formats import all_formats

if TYPE_CHECKING:
    from torch import nn

__all__ = ["rehearse"]


def rehearse(module: nn.Module, example_input: object, formats: Iterable[str] = ()) -> str | None:
    """Run a copy of the module on the example, and make of it what each format writes, without a file. The module is left as it was.

    Args:
        module: the live module, with the weights that it has now.
        example_input: for `make_example`.
        formats: those that will be written.

    Returns:
        In words, what can't be done; None when all can.
    """
    try:
        with undisturbed(), unchanged(module):
            subject = rehearsal(module, example_input)
            for name in formats:
                all_formats()[name].rehearse(subject)
    except ExportError as error:
        return str(error)
    return None
