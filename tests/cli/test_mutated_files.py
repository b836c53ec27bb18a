"""Files of which one key was changed to anything: whoever reads or shows them gives an answer, or fitgate's own error."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import fitgate
from fitgate._files import sha256_of
from fitgate.cli import app
from fitgate.errors import FitgateError, RegistryError, StoreError
from fitgate.gate import on_record, read_gate_file
from fitgate.registry import champion, live_content, models, read_current, read_history, read_manifest, verify
from fitgate.registry._manifest import encode_manifest
from fitgate.report import build_report, render_markdown, report_as_dict
from fitgate.store._run_file import read_run_info
from tests.registry._versions import publish_version

_DATES = st.sampled_from(["2026-11-23T08:40:01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
_TEXTS = st.text(max_size=6) | st.sampled_from(["..", "../x", "val_acc >= 0.8", "running", "deploy", "\x1b[2J", "1e400"])
_NUMBERS = st.integers() | st.integers(2**63, 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0, -1, 10**18])
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS | _DATES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_COMMANDS = st.sampled_from([("runs",), ("compare",), ("show", "glad-hen"), ("gate", "glad-hen")])
_FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def _places(value: object, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every key and item."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*before, key)
        yield from _places(inner, (*before, key))


def _alike(value: object) -> st.SearchStrategy[object]:
    """Values of the same type, which no check of types refuses."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, list | dict):
        return st.lists(_JSON, max_size=3) if isinstance(value, list) else st.dictionaries(_TEXTS, _JSON, max_size=3)
    return _NUMBERS if isinstance(value, int | float) else _TEXTS | _DATES if isinstance(value, str) else _JSON


def _mutated(data: st.DataObject, content: dict[str, Any]) -> dict[str, Any]:
    """The content with another value in one place, or with none."""
    changed = copy.deepcopy(content)
    *way, last = data.draw(st.sampled_from(sorted(_places(content), key=str)))
    inner: Any = changed
    for key in way:
        inner = inner[key]
    if isinstance(last, str) and data.draw(st.integers(0, 9)) == 0:
        del inner[last]
    else:
        inner[last] = data.draw(_alike(inner[last]) | _JSON)
    return changed


def _own(error: type[FitgateError], *calls: Callable[[], object]) -> None:
    """Each call gives an answer or this error, in one line."""
    for call in calls:
        try:
            call()
        except error as raised:
            assert str(raised)


def _shown(*arguments: object) -> None:
    """The command prints something, and ends in an exit code and no traceback."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), (arguments, done.exception)


def _reported(root: Path) -> None:
    report = build_report(fitgate.Store(root).run("net-20261123-100000-glad-hen"))
    json.dumps(report_as_dict(report))
    render_markdown(report)


@pytest.mark.filterwarnings("ignore")
@_FEW
@given(data=st.data())
def test_a_mutated_run_file(root: Path, data: st.DataObject) -> None:
    """run.json, and what shows it."""
    path = root / "net-20261123-100000-glad-hen" / "run.json"
    whole = path.read_bytes()
    try:
        path.write_text(json.dumps(_mutated(data, json.loads(whole))))
        _own(StoreError, lambda: read_run_info(path.read_bytes(), str(path)), lambda: _reported(root))
        _shown(*data.draw(_COMMANDS), "--root", root)
    finally:
        path.write_bytes(whole)


@pytest.mark.filterwarnings("ignore")
@_FEW
@given(data=st.data())
def test_a_mutated_gate_file(root: Path, data: st.DataObject) -> None:
    """gate.json, and what shows it."""
    path = root / "net-20261123-100000-glad-hen" / "gate.json"
    whole = path.read_bytes()
    try:
        path.write_text(json.dumps(_mutated(data, json.loads(whole))))
        read = path.read_bytes()
        _own(StoreError, lambda: read_gate_file(read, str(path)), lambda: on_record(read, str(path)), lambda: _reported(root))
        _shown(*data.draw(_COMMANDS), "--root", root)
    finally:
        path.write_bytes(whole)


@_FEW
@given(data=st.data(), name=st.sampled_from(["CURRENT", "history.jsonl", "manifest.json"]))
def test_a_mutated_file_of_the_registry(tmp_path: Path, data: st.DataObject, name: str) -> None:
    """CURRENT, a line of history.jsonl, and a manifest with its right digest, which CURRENT names; and what shows them."""
    model_dir = tmp_path / "deploy" / "digits"
    if not model_dir.exists():
        publish_version(model_dir, onnx=True)
    path = model_dir / ("1/manifest.json" if name == "manifest.json" else name)
    current, whole = (model_dir / "CURRENT").read_bytes(), path.read_bytes()
    try:
        content = _mutated(data, json.loads(whole))
        path.write_bytes(encode_manifest(content) if name == "manifest.json" else json.dumps(content).encode() + b"\n")
        if name == "manifest.json":
            digest = sha256_of(path)
            (model_dir / "CURRENT").write_text(json.dumps({**json.loads(current), "manifest_sha256": digest}))
        readers = (read_current, read_history, live_content, champion, verify, fitgate.open_model)
        _own(RegistryError, *(lambda read=read: read(model_dir) for read in readers))
        _own(RegistryError, lambda: read_manifest(model_dir / "1"), lambda: models(model_dir.parent))
        _shown("models", model_dir.parent)
        _shown("verify", model_dir)
    finally:
        path.write_bytes(whole)
        (model_dir / "CURRENT").write_bytes(current)
