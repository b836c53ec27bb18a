"""The HParams tab: a run is a session, in its own folder, so that no empty run appears beside it.

No experiment is written: TensorBoard then derives hyperparameters and metrics from all sessions, which keeps runs
with different ones comparable (its hparams plugin reads only the first experiment that it finds).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

__all__ = ["session_end", "session_start"]

_FAILED = ("failed", "interrupted")


def session_start(run_id: str, hparams: Mapping[str, Any], created: datetime) -> Summary | None:
    """A run's hyperparameters, nested ones by dotted name; None where there are none to show.

    Example:
        >>> from datetime import UTC, datetime
        >>> summary = session_start("r", {"lr": 0.1, "net": {"width": 8}}, datetime.now(UTC))
        >>> summary.value[0].tag
        '_hparams_/session_start_info'
    """
    flat = dict(sorted(_flat(hparams)))
    return hparams_pb(flat, trial_id=run_id, start_time_secs=created.timestamp()) if flat else None


def session_end(state: str, ended: datetime) -> Summary:
    """How a run ended, in TensorBoard's words: success or failure."""
    status = api_pb2.Status.STATUS_FAILURE if state in _FAILED else api_pb2.Status.STATUS_SUCCESS
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ended.timestamp())
    content = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=info))
    return Summary(value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=content, tensor=metadata.NULL_TENSOR)])


def _flat(hparams: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | float | str]]:
    for key, value in hparams.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif value is not None:
            yield name, value if isinstance(value, bool | int | float | str) else str(value)
