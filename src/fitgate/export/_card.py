"""README.md of a version: a Hugging Face model card with `model-index` results.

Source: "Model Cards" in the Hub's documentation; the metadata is YAML between two lines of dashes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fitgate.registry import Signature

__all__ = ["model_card"]

# Names that the Hub knows, by the last part of ours.
_TYPES = {
    "acc": "accuracy",
    "accuracy": "accuracy",
    "loss": "loss",
    "f1": "f1",
    "auroc": "roc_auc",
    "precision": "precision",
    "recall": "recall",
}

_BODY = """\
---
{{ metadata }}---

# {{ model }}

Exported by fitgate {{ fitgate_version }} from run `{{ run_id }}`, once these conditions held:

{% for check in checks -%}
- {{ check.reason }}
{% endfor %}
## Use it

```python
import fitgate

model = fitgate.open_model({{ path }})
{% if signature -%}
outputs = model.predict(inputs)
{% else -%}
model.path("{{ files[0] }}")
{% endif -%}
```
{% if signature %}
| | name | dtype | shape |
|---|---|---|---|
{% for spec in signature.inputs -%}
| input | `{{ spec.name }}` | {{ spec.dtype }} | {{ spec.shape | list }} |
{% endfor -%}
{% for spec in signature.outputs -%}
| output | `{{ spec.name }}` | {{ spec.dtype }} | {{ spec.shape | list }} |
{% endfor %}
-1 is the batch. golden.safetensors holds inputs, and the outputs that this model gave for them.
{% endif %}
## Files

{% for file in files -%}
- `{{ file }}`
{% endfor %}
Digests of all files, and where they come from, are in manifest.json; gate.json has every check.
"""


def model_card(
    *,
    model_dir: Path,
    run_id: str,
    gate: Mapping[str, Any],
    metrics: Mapping[str, float | None],
    signature: Signature | None,
    files: list[str],
) -> str:
    """The text of README.md.

    Args:
        model_dir: the model's folder, as it was given.
        run_id: the run it comes from.
        gate: the content of gate.json.
        metrics: the values that thresholds were held against; what is not finite is left out.
        signature: what the model takes and gives, if that is known.
        files: the names of the model files.
    """
    import jinja2  # noqa: PLC0415 - only an export needs it
    import yaml  # noqa: PLC0415

    model = model_dir.name
    metadata = yaml.safe_dump(_metadata(model, run_id, metrics), sort_keys=False, allow_unicode=True)
    template = jinja2.Environment(autoescape=False, keep_trailing_newline=True).from_string(_BODY)  # noqa: S701 - Markdown, not HTML
    return template.render(
        metadata=metadata,
        model=model,
        path=json.dumps(str(model_dir), ensure_ascii=False),
        run_id=run_id,
        checks=list(gate.get("checks", ())),
        signature=signature,
        files=files,
        fitgate_version=_version(),
    )


def _metadata(model: str, run_id: str, metrics: Mapping[str, float | None]) -> dict[str, Any]:
    results = [
        {"type": _type(name), "name": name, "value": value}
        for name, value in sorted(metrics.items())
        if value is not None and math.isfinite(value) and not name.startswith("artifact.")
    ]
    metadata: dict[str, Any] = {"library_name": "pytorch", "tags": ["pytorch-lightning", "fitgate"]}
    if results:
        dataset = {"type": "validation", "name": f"validation data of {run_id}", "split": "validation"}
        metadata["model-index"] = [
            {"name": model, "results": [{"task": {"type": "other", "name": "validation"}, "dataset": dataset, "metrics": results}]}
        ]
    return metadata


def _type(name: str) -> str:
    """The Hub's name for a metric, where ours says which it is; else ours."""
    bare = re.sub(r"(/dataloader_idx_\d+|_epoch|_step)+$", "", name)
    return _TYPES.get(re.split(r"[^A-Za-z0-9]", bare)[-1].lower(), name)


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - for this line

    return version("fitgate")
