"""A model `digits` to publish versions of."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.registry._versions import publish_version


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """Where `release` publishes."""
    return tmp_path / "deploy" / "digits"


@pytest.fixture
def release(model_dir: Path) -> Callable[..., int]:
    """Publishes a version of the model and gives its number."""
    return functools.partial(publish_version, model_dir)
