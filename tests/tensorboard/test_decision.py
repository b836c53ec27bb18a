"""What TensorBoard itself serves of a run and its decision."""

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboard import program
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import fitgate
from fitgate.gate import Judged, decision_as_dict
from fitgate.store._reader import Run
from fitgate.tensorboard import write_decision

Get = Callable[..., Any]


@contextmanager
def tensorboard(logdir: Path) -> Iterator[Get]:
    """A real TensorBoard on a free port; gives a function that fetches one of its data routes."""
    server = program.TensorBoard()
    server.configure(argv=[None, "--logdir", str(logdir), "--port", "0", "--load_fast", "false", "--reload_interval", "1"])
    url = server.launch()

    def get(route: str, body: Any = None, **query: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - a server of our own
            f"{url}data/{route}?{urllib.parse.urlencode(query)}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    deadline = time.monotonic() + 60
    while not get("plugin/scalars/tags"):
        assert time.monotonic() < deadline, "TensorBoard read nothing"
        time.sleep(0.2)
    yield get


def _judged_run(root: Path, name: str, lr: float) -> Run:
    with fitgate.start_run(root, name=name, hparams={"lr": lr, "net": {"width": 8, "bias": True}, "path": None}) as run:
        for step in range(10):
            run.log_metrics({"val_acc": 0.05 * step, "loss": 1 / (step + 1)}, step=step)
    stored = fitgate.Store(str(root)).run(run.id)
    decision = fitgate.evaluate(["val_acc >= 0.8", "loss <= 0.5"], {"val_acc": 0.4, "loss": 1 / 9})
    gate = {**decision_as_dict(decision, run.id), "judged": vars(Judged(global_step=8, epoch=0))}
    write_decision(run.path, gate, stored.metrics(), state="improve", report="# What to improve\n\nTrain longer.")
    return stored


def test_tensorboard_shows_the_decision(tmp_path: Path) -> None:
    """Verdict and report as text, thresholds with their metrics in the custom layout, the judged step, hyperparameters."""
    run, other = _judged_run(tmp_path, "one", 0.1), _judged_run(tmp_path, "two", 0.2)
    with tensorboard(tmp_path) as get:
        assert set(get("runs")) == {run.id, other.id}
        texts = {tag: get("plugin/text/text", run=run.id, tag=tag)[0]["text"] for tag in ("gate/verdict", "gate/report")}
        assert "<h1>improve</h1>" in texts["gate/verdict"]
        assert "misses by 0.4" in texts["gate/verdict"]
        assert "Train longer." in texts["gate/report"]

        (category,) = get("plugin/custom_scalars/layout")["category"]
        patterns = {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]}
        assert patterns.keys() == {"val_acc", "loss"}
        drawn = get("plugin/custom_scalars/scalars", run=run.id, tag="|".join(patterns["val_acc"]))
        series = {tag: [(step, round(value, 6)) for _, step, value in points] for tag, points in drawn["tag_to_events"].items()}
        assert series.pop("val_acc")[-1] == (9, 0.45)
        assert series == {"gate/needed val_acc": [(0, 0.8), (9, 0.8)], "gate/judged val_acc": [(8, 0.4)]}

        experiment = get("plugin/hparams/experiment", {"experimentName": "", "includeMetrics": True})
        assert {info["name"] for info in experiment["hparamInfos"]} == {"lr", "net.width", "net.bias"}
        metrics = {info["name"]["tag"]: info["name"] for info in experiment["metricInfos"]}
        columns = [{"metric": metrics["val_acc"], "order": "ORDER_ASC"}]
        groups = get("plugin/hparams/session_groups", {"sliceSize": 10, "colParams": columns, "allowedStatuses": ["STATUS_SUCCESS"]})
        found = {group["name"]: group for group in groups["sessionGroups"]}
        assert {name: group["hparams"]["lr"] for name, group in found.items()} == {run.id: 0.1, other.id: 0.2}
        values = {value["name"]["tag"]: value["value"] for value in found[run.id]["metricValues"]}
        assert round(values["val_acc"], 6) == 0.45


def test_plain_scalars_stay_the_recorded_points(tmp_path: Path) -> None:
    """A reader of the run's scalars sees the metrics, and none of the gate's own series."""
    run = _judged_run(tmp_path, "one", 0.1)
    events = EventAccumulator(str(tmp_path / run.id))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"val_acc", "loss"}
    assert len(events.Scalars("val_acc")) == 10
