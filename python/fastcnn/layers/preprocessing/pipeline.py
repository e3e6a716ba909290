"""Pipeline: layers one after the other, as one layer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _core, _messages
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer
from fastcnn.layers.preprocessing.image_layer import ImageLayer
from fastcnn.variables import Structure, Variable


class Pipeline(Layer):
    """Applies layers one after the other; they compute natively and in one plan with what stands around them.

    Args:
        layers: the layers in order.
        name: made from the class's name by default.

    Raises:
        ValueError: not layers; or, when built, layers that do not fit one another.

    Example:
        >>> import numpy as np
        >>> from fastcnn import layers
        >>> augment = Pipeline([layers.RandomFlip(), layers.RandomTranslation(0.1, 0.1)])
        >>> augment(np.ones((2, 8, 8, 3))).shape
        (2, 8, 8, 3)

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/pipeline/.
    """

    def __init__(self, layers: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        entries = list(layers) if isinstance(layers, Sequence) and not isinstance(layers, str) else []
        if not entries or not all(isinstance(layer, Layer) for layer in entries):
            _messages.fail("Pipeline", "layers", "a list of fastcnn layers", layers)
        self._pipeline_layers: list[Layer] = entries

    @property
    def layers(self) -> list[Layer]:
        """The layers in order."""
        return list(self._pipeline_layers)

    def build(self, input_shape: Any) -> None:
        """Builds the layers, each for what the one before it gives."""
        sample = self._sample_shape(input_shape, "build")
        if self.built:
            return
        shape = (None, *sample)
        for layer in self._pipeline_layers:
            if not layer.built:
                layer._path_prefix = "/".join(part for part in (self._path_prefix, self.name) if part)
                layer.build(shape)
            shape = (None, *(n for n in layer.compute_output_shape(shape)[1:] if n is not None))
        self._build_shape = sample
        self.built = True

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends all layers' operations."""
        for layer in self._pipeline_layers:
            layer.append_to(graph, parameters)

    def _mode(self) -> Hashable:
        return tuple(layer._mode() for layer in self._pipeline_layers)

    def __call__(self, inputs: Any, training: bool = True) -> NDArray[np.float32]:
        """The output for a batch, or for one image where the first layer takes images.

        Args:
            inputs: (n, ...) array of any real dtype, or (height, width, channels).
            training: False for what a model does in `predict` and `evaluate`. As in Keras, a pipeline called by itself trains.

        Returns:
            (n, *output shape) float32 array.
        """
        if np.ndim(inputs) == 3 and any(isinstance(layer, ImageLayer) for layer in self._pipeline_layers):
            single: NDArray[np.float32] = super().__call__(np.asarray(inputs)[None], training)[0]
            return single
        return super().__call__(inputs, training)

    # --- variables -----------------------------------------------------------------------------------------------

    @property
    def weights(self) -> list[Variable]:
        """All layers' variables, layer by layer."""
        return [v for layer in self._pipeline_layers for v in layer.weights]

    @property
    def trainable_weights(self) -> list[Variable]:
        """The variables that the optimizer changes."""
        return [v for layer in self._pipeline_layers for v in layer.trainable_weights] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The variables that the optimizer leaves alone."""
        trained = {id(v) for v in self.trainable_weights}
        return [v for v in self.weights if id(v) not in trained]

    @property
    def trainable(self) -> bool:
        """Whether the optimizer changes the layers' weights; setting it sets every layer's."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = _messages.flag(self.name, "trainable", value)
        Structure.changed()
        for layer in self._pipeline_layers:
            layer.trainable = self._trainable

    # --- configuration -------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Layers and name, as plain data."""
        from fastcnn.saving.serialization import serialize_keras_object

        return {"layers": serialize_keras_object(self._pipeline_layers), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Pipeline:
        """A new pipeline, with new weights, from `get_config()`'s dictionary.

        Raises:
            ValueError: not such a dictionary, or an unknown layer class.
        """
        from fastcnn.layers.serialization import deserialize

        entries = config.get("layers") if isinstance(config, Mapping) else None
        if not isinstance(entries, (list, tuple)):
            _messages.fail("Pipeline.from_config", "config", "a dictionary with a list of 'layers'", config)
        return cls([deserialize(entry) for entry in entries], name=config.get("name"))
