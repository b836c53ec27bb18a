"""config.pbtxt as Triton's own schema reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from fitgate.registry import promote, rollback, tidy, verify

Release = Callable[..., int]


def _name(data_type: int) -> str:
    name: str = model_config_pb2.DataType.Name(data_type)
    return name


def _config(model_dir: Path) -> Any:
    return text_format.Parse((model_dir / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def _served(model_dir: Path) -> list[int]:
    return list(_config(model_dir).version_policy.specific.versions)


def test_names_types_and_shapes_are_those_of_the_onnx_file(release: Release, model_dir: Path) -> None:
    """Whole shapes, the batch as -1, since max_batch_size is 0."""
    release(onnx=True)
    config = _config(model_dir)
    assert (config.name, config.platform, config.max_batch_size) == ("digits", "onnxruntime_onnx", 0)
    assert config.default_model_filename == "model.onnx"
    assert [(i.name, _name(i.data_type), list(i.dims)) for i in config.input] == [
        ("image", "TYPE_FP32", [-1, 1, 8, 8]),
        ("ids", "TYPE_INT64", [-1]),
    ]
    assert [(o.name, _name(o.data_type), list(o.dims)) for o in config.output] == [("logits", "TYPE_FP32", [-1, 10])]


def test_the_served_version_follows_current(release: Release, model_dir: Path) -> None:
    """Through publish, promote and rollback; Triton would serve the highest otherwise."""
    for number in (1, 2, 3):
        release(onnx=True)
        assert _served(model_dir) == [number]
    rollback(model_dir)
    assert _served(model_dir) == [2]
    promote(model_dir, 1)
    assert _served(model_dir) == [1]
    assert not verify(model_dir).problems


def test_a_version_without_onnx_is_not_served(release: Release, model_dir: Path) -> None:
    """The file goes where the live version has nothing for Triton, and comes back with a rollback."""
    release(onnx=True)
    release()
    assert not (model_dir / "config.pbtxt").exists()
    rollback(model_dir)
    assert list(_config(model_dir).version_policy.specific.versions) == [1]


def test_a_config_that_lags_behind_is_found(release: Release, model_dir: Path) -> None:
    """As a process killed between CURRENT and config.pbtxt leaves it; the next move or the next fit mends it."""
    release(onnx=True)
    old = (model_dir / "config.pbtxt").read_bytes()
    release(onnx=True)
    (model_dir / "config.pbtxt").write_bytes(old)
    assert [p.path for p in verify(model_dir).problems] == ["config.pbtxt"]
    promote(model_dir, 2)
    assert not verify(model_dir).problems
    (model_dir / "config.pbtxt").unlink()
    assert [p.path for p in verify(model_dir).problems] == ["config.pbtxt"]
    tidy(model_dir)
    assert _served(model_dir) == [2]


def test_scalars_and_odd_types(release: Release, model_dir: Path) -> None:
    """A scalar output is one element reshaped to none; what Triton has no type for is not served."""
    scalar = {"name": "loss", "dtype": "float16", "shape": []}
    one = {"name": "x", "dtype": "bool", "shape": [-1, 3]}
    release(onnx=True, signature={"inputs": [one], "outputs": [scalar]})
    (output,) = _config(model_dir).output
    assert (list(output.dims), list(output.reshape.shape)) == ([1], [])
    assert output.HasField("reshape")
    release(onnx=True, signature={"inputs": [{**one, "dtype": "complex64"}], "outputs": [scalar]})
    assert not (model_dir / "config.pbtxt").exists()
