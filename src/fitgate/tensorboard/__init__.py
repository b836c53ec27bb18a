"""TensorBoard, as a mirror of the store: event files in each run's folder.

`EventWriter` mirrors the points while they are recorded. When a fit is judged, `write_decision` adds what TensorBoard
shows beside curves: the verdict and the report as text, thresholds drawn with their metrics, the judged step. The run's
hyperparameters go into the HParams tab.
"""

from fitgate.tensorboard._decision import decision_events, write_decision
from fitgate.tensorboard._events import EventWriter
from fitgate.tensorboard._hparams import session_start

__all__ = ["EventWriter", "decision_events", "session_start", "write_decision"]
