"""The formats. Each public module in this package holds one, as `FORMAT`: to add a format, add a file."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping

from fitgate.export.formats._base import Format, GraphFormat, Play, Run, WeightFormat

__all__ = ["Format", "GraphFormat", "Play", "Run", "WeightFormat", "all_formats", "check_formats", "needs_example"]


@functools.cache
def all_formats() -> Mapping[str, Format]:
    """Every format by name, in alphabetical order."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__) if info.name[0] != "_")
    return {module.FORMAT.name: module.FORMAT for module in sorted(modules, key=lambda m: str(m.FORMAT.name))}


def check_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """Check the names of formats, and that what they need is installed.

    Raises:
        ValueError: there is none, or one is unknown.
        ModuleNotFoundError: a package is missing; the message says how to install it.
    """
    names = (formats,) if isinstance(formats, str) else tuple(formats)
    known = all_formats()
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        message = f"formats: expected any of {', '.join(map(repr, known))}, got {unknown[0] if unknown else names!r}"
        raise ValueError(message)
    for name in names:
        missing = known[name].missing()
        if missing:
            how = f"pip install {' '.join(missing)}"
            message = f"the format {name!r} needs {', '.join(missing)}, which is not installed: {how}"
            raise ModuleNotFoundError(message, name=missing[0])
    return tuple(dict.fromkeys(names))


def needs_example(formats: Iterable[str]) -> tuple[str, ...]:
    """Those formats that take an example input to be written.

    Example:
        >>> needs_example(["safetensors", "torch_export"])
        ('torch_export',)
    """
    return tuple(name for name in formats if all_formats()[name].graph)
