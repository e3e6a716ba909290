"""`fastcnn.onnx.load`: ONNX files as Sequential models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastcnn import _messages
from fastcnn.onnx.chain import Chain
from fastcnn.onnx.proto import GraphData, fail, read

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential


def load(source: Any, *, input_shape: Any = None, output: str | None = None) -> Sequential:
    """A model from an ONNX file: a chain of the operators of a small convolutional network, as PyTorch and others write it.

    The model takes the same arrays as the file's, (n, channels, height, width) for images, gives the same results, and can be
    trained on. Batch normalization and dropout are layers again.

    A file needs no trust: no code is run and no other file read, and no more memory taken than a small multiple of its size.

    Args:
        source: path or bytes of the file, or an `onnx.ModelProto`.
        input_shape: one sample's shape, where the file leaves sizes free.
        output: the result to compute, by its name in the file, where there are several, or one from inside.

    Returns:
        The model, built, not compiled.

    Raises:
        ValueError: no ONNX file, an operator or a structure that a chain of layers does not have, or weights that do not fit.
        ImportError: onnx is not installed: `pip install "fastcnn[onnx]"`.

    Example:
        >>> import tempfile, numpy as np, fastcnn as keras
        >>> model = keras.Sequential([keras.layers.Conv2D(4, 3, input_shape=(8, 8, 1)), keras.layers.Flatten()])
        >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
        ...     model.export(f"{folder}/model.onnx")
        ...     again = keras.onnx.load(f"{folder}/model.onnx")

    See https://onnx.ai/onnx/operators/.
    """
    operation = "onnx.load"
    graph = read(source, operation)
    data, shape = data_input(graph, operation)
    if input_shape is not None:
        given = _messages.shape(operation, "input_shape", input_shape)
        if shape is not None and (
            len(shape) != len(given) + 1 or any(n not in (None, g) for n, g in zip(shape[1:], given))
        ):
            fail(operation, "input_shape", f"sizes that fit {shape[1:]}", given)
        shape = (None if shape is None else shape[0], *given)
    if shape is None:
        fail(operation, "input_shape", "one sample's shape, which the file does not say", None)
    chain = Chain(graph, operation, data, shape)
    chain.read(output_name(graph, output, operation))
    return chain.model()


def data_input(graph: GraphData, operation: str) -> tuple[str, tuple[int | None, ...] | None]:
    """Name and shape of the only input."""
    if len(graph.inputs) != 1:
        fail(operation, "inputs", "one that is not a constant", list(graph.inputs))
    return next(iter(graph.inputs.items()))


def output_name(graph: GraphData, wanted: str | None, operation: str) -> str:
    """The name of the output that is meant."""
    if wanted is not None:
        return wanted
    if len(graph.outputs) != 1:
        fail(operation, "output", "a name, as the file has several", list(graph.outputs))
    return graph.outputs[0]
