"""A decision on record: read back as it was written, or one clear error."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitgate import StoreError, Threshold, evaluate
from fitgate._files import encode_json
from fitgate.gate import Samples, decision_as_dict, on_record, read_gate_file

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _written() -> dict[str, Any]:
    thresholds: list[str | Threshold] = ["val_acc >= 0.8", "val_loss <= champion", "f1 > 0"]
    return decision_as_dict(evaluate(thresholds, {"val_acc": 0.9, "val_loss": math.nan}), "r")


def test_what_was_written_is_read() -> None:
    """Every key; a value that is no number is null, as JSON has it."""
    written = _written()
    read = read_gate_file(encode_json(written), "gate.json")
    assert read.keys() == written.keys()
    assert read["checks"][1]["value"] is None
    assert read["metrics"]["val_loss"] is None
    assert read["verdict"] == "improve"


@given(st.sampled_from(sorted(_written())), _JSON)
def test_any_change_is_read_or_is_one_error(key: str, value: object) -> None:
    """Whatever one of its keys holds, the readers never fail in another way."""
    data = json.dumps({**json.loads(encode_json(_written())), key: value}).encode()
    try:
        read_gate_file(data, "runs/r/gate.json")
    except StoreError as error:
        assert str(error).startswith("runs/r/gate.json")


@given(st.binary(max_size=64))
def test_any_bytes_are_one_error(data: bytes) -> None:
    """No random bytes are a decision."""
    with pytest.raises(StoreError, match=r"runs/r/gate\.json"):
        read_gate_file(data, "runs/r/gate.json")


@pytest.mark.parametrize("read", [read_gate_file, on_record])
def test_nesting_beyond_all_sense_is_one_error(read: Callable[[bytes, str], object]) -> None:
    """Even under a key that nobody reads."""
    written = json.dumps({**json.loads(encode_json(_written())), "later": "@"}).encode()
    with pytest.raises(StoreError, match=r"runs/r/gate\.json can't be read: .*nest"):
        read(written.replace(b'"@"', b"[" * 100_000 + b"]" * 100_000), "runs/r/gate.json")


def _with_check(**changes: object) -> bytes:
    content = json.loads(encode_json(_written()))
    content["checks"][0] |= changes
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"metric": ""},
        {"metric": " "},
        {"confidence": 5.0},
        {"confidence": 0.2},
        {"threshold": "f1 >= 0.8"},
        {"threshold": "val_acc < 0.8"},
        {"metric": "f1"},
        {"op": "<"},
        {"required": 0.7},
        {"n": -5},
        {"n_needed": -1},
    ],
)
@pytest.mark.parametrize("read", [read_gate_file, on_record])
def test_a_check_that_makes_no_sense_is_one_error(read: Callable[[bytes, str], object], changes: dict[str, object]) -> None:
    """A broken threshold, one that contradicts what stands beside it, numbers that nothing has: named with the file."""
    with pytest.raises(StoreError, match=r"^runs/r/gate\.json can't be "):
        read(_with_check(**changes), "runs/r/gate.json")


def test_a_threshold_of_a_later_grammar_is_shown_and_not_judged_by() -> None:
    """Unless the bound stands beside it: then that counts."""
    data = _with_check(threshold="val_acc about 0.8", required=None)
    assert read_gate_file(data, "runs/r/gate.json")["checks"][0]["threshold"] == "val_acc about 0.8"
    with pytest.raises(StoreError, match=r"^runs/r/gate\.json can't be judged by: .*'val_acc about 0\.8'"):
        on_record(data, "runs/r/gate.json")
    (threshold, *_) = on_record(_with_check(threshold="val_acc about 0.8"), "runs/r/gate.json").thresholds
    assert threshold == Threshold("val_acc", ">=", 0.8)


@pytest.mark.parametrize("checks", [[], _written()["checks"][2:] * 2])
def test_checks_that_no_fit_is_judged_by_are_one_error(checks: list[object]) -> None:
    """None at all, or one twice."""
    with pytest.raises(StoreError, match=r"^runs/r/gate\.json can't be judged by: "):
        on_record(encode_json({**_written(), "checks": checks}), "runs/r/gate.json")


@pytest.mark.parametrize("metric", ["top 1", 'a "quoted" name', "a \\ b", "caf\xe9", "\udcff", "one > two"])
def test_any_name_agrees_with_its_own_text(metric: str) -> None:
    """As it is written, also where the file has to escape it."""
    data = encode_json(decision_as_dict(evaluate([Threshold(metric, ">=", 0.1 + 0.2)], {metric: 0.5}), "r"))
    assert on_record(data, "gate.json").decision.verdict == "deploy"


@pytest.mark.parametrize(
    "changes", [{"margin": None}, {"warn": True}, {"n": 400, "n_needed": 10}, {"threshold": "val_acc >= 0.8 (warn)", "warn": True}]
)
def test_a_check_that_makes_sense_is_read(changes: dict[str, object]) -> None:
    """What may differ does."""
    data = _with_check(**changes)
    assert read_gate_file(data, "gate.json") == json.loads(data)
    assert on_record(data, "gate.json").decision.checks[0].threshold.warn == changes.get("warn", False)


def test_a_decision_comes_back_as_it_was() -> None:
    """Verdict, every check with its bound, reasons and warnings: what is written of it again is the same file."""
    confident = Threshold("val_acc", ">=", 0.8, confidence=0.95, warn=True)
    thresholds: list[str | Threshold] = [confident, "val_loss <= champion * 0.98", "f1 > champion", "val_acc >= 0.7"]
    samples = {"val_acc": Samples(n=400)}
    decision = evaluate(
        thresholds, {"val_acc": 0.81, "val_loss": 0.3}, champion={"val_loss": 0.31}, samples=samples, allowed=("fast_dev_run",)
    )
    written = encode_json(decision_as_dict(replace(decision, warnings=("other data",)), "r"))
    again = on_record(written, "gate.json").decision
    assert encode_json(decision_as_dict(again, "r")) == written
    assert again.checks == decision.checks


def test_a_metric_may_be_called_after_the_champion() -> None:
    """Its own bound is no value of a champion's that the record would lack."""
    decision = evaluate(["wins_over_champion >= 0.5"], {"wins_over_champion": 0.6})
    assert not on_record(encode_json(decision_as_dict(decision, "r")), "gate.json").lacks_champion


def test_a_later_format_is_refused() -> None:
    """Not guessed at."""
    with pytest.raises(StoreError, match="format 2"):
        read_gate_file(encode_json({**_written(), "format": 2}), "gate.json")
