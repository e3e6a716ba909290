"""Sequential: a chain of layers, trained and run natively."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _core, _messages
from fastcnn._network import BuiltNetwork, ParameterList
from fastcnn.data.arrays import as_inputs, check_input_shape
from fastcnn.layers.input_layer import InputLayer, InputTensor
from fastcnn.layers.layer import KerasTensor, Layer
from fastcnn.models import summary as summaries
from fastcnn.models.trainer import TrainingMethods
from fastcnn.variables import Structure, Variable, join

# Methods through which Keras's subclasses change training. Passing them over in silence would train something else.
_NOT_CALLED = {
    *("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics", "make_train_function"),
    *("make_test_function", "make_predict_function"),
}


class Sequential(TrainingMethods, Layer):
    """A model whose layers follow one another.

    The model is built, that is has weights, once it knows one sample's shape: from `Input`, from the first layer's
    `input_shape=`, from `build`, or from the first data it sees.

    Args:
        layers: the layers in order; `Input(shape)` may come first.
        trainable: whether the optimizer changes the layers' weights.
        name: made from the class's name by default.

    Raises:
        ValueError: not layers, or layers that do not fit one another.

    Example:
        >>> import fastcnn as keras
        >>> from fastcnn import layers
        >>> model = keras.Sequential([
        ...     layers.Conv2D(4, (3, 3), activation="relu", input_shape=(8, 8, 1)),
        ...     layers.MaxPooling2D((2, 2)),
        ...     layers.Flatten(),
        ...     layers.Dense(1, activation="sigmoid"),
        ... ])
        >>> model.output_shape, model.count_params()
        ((None, 1), 77)

    See https://keras.io/api/models/sequential/.
    """

    def __init__(self, layers: Sequence[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        Layer.__init__(self, name=name)
        self._layers: list[Layer] = []
        self._input_layer: InputLayer | None = None
        self._shapes: list[tuple[int, ...]] = []  # of one sample after each layer, where built
        self._network: BuiltNetwork | None = None
        # The native function for arrays that need no checks, good while nothing changed since that version.
        self._usual: Callable[[Any], NDArray[np.float32] | None] = _none
        self._usual_version = -1
        self._structure_lock = threading.RLock()
        self._init_training()
        if layers is not None:
            if isinstance(layers, (str, Mapping)) or not hasattr(layers, "__iter__"):
                _messages.fail("Sequential", "layers", "a list of layers", layers)
            for layer in layers:
                self.add(layer, rebuild=False)
            self._maybe_build()
        if not trainable:
            self.trainable = trainable

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _NOT_CALLED & set(cls.__dict__):
            raise TypeError(
                f"{cls.__name__}: {name}: expected no method of that name, which the native training loop would not call; use "
                "a callback, a layer of your own or a loss of your own"
            )

    # --- copies and pickles --------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        with self._training_lock:
            state = {**super().__getstate__(), **self._pickled_training()}
        for name in ("_network", "_usual", "_usual_version", "_structure_lock", "_training_lock"):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._network, self._usual, self._usual_version = None, _none, -1
        self._structure_lock, self._training_lock = threading.RLock(), threading.RLock()

    # --- structure -----------------------------------------------------------------------------------------------

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Appends a layer.

        Args:
            layer: a layer; or, where it is the first, what `Input` returned.
            rebuild: whether the model is built at once where its input shape is known.

        Raises:
            ValueError: not a layer, a name that another layer has, or a shape that does not fit; nothing changed.
        """
        if isinstance(layer, InputTensor):
            layer = layer.layer
        if not isinstance(layer, Layer):
            _messages.fail("Sequential.add", "layer", "a fastcnn layer", layer)
        with self._structure_lock:
            if isinstance(layer, InputLayer):
                self._set_input(layer)
                return
            if any(known is layer for known in self._layers):
                _messages.fail("Sequential.add", "layer", "a layer that the model does not have yet", layer)
            if any(known.name == layer.name for known in self._layers):
                _messages.fail("Sequential.add", "layer", "a name that no other layer of the model has", layer.name)
            input_layer = self._input_layer
            if input_layer is None and not self._layers:
                shape = layer._input_shape_argument
                if shape is None and isinstance(layer, Sequential) and layer._input_layer is not None:
                    shape = layer._input_layer.sample_shape
                input_layer = None if shape is None else InputLayer(shape)
            if rebuild:
                self._change([*self._layers, layer], input_layer)
            else:
                self._layers, self._input_layer = [*self._layers, layer], input_layer

    def pop(self, rebuild: bool = True) -> Layer:
        """Removes the last layer and returns it.

        Raises:
            IndexError: the model has no layers.
        """
        with self._structure_lock:
            if not self._layers:
                raise IndexError(f"{self.name}: pop: expected a model with layers, received one without")
            layer = self._layers[-1]
            self._change(self._layers[:-1], self._input_layer)
            return layer

    def _set_input(self, layer: InputLayer) -> None:
        if self._input_layer is not None or self._layers:
            _messages.fail("Sequential.add", "layer", "an Input only as the first entry", layer)
        self._input_layer = layer

    def _change(self, layers: list[Layer], input_layer: InputLayer | None) -> None:
        """Takes over `layers`, building what is not built; nothing changes where they do not fit."""
        shapes: list[tuple[int, ...]] = []
        for layer in layers:
            if not layer.built:
                layer._path_prefix = "/".join(part for part in (self._path_prefix, self.name) if part)
        if input_layer is not None and layers:
            shapes = _infer(layers, input_layer.sample_shape)
            before = input_layer.sample_shape
            for layer, after in zip(layers, shapes):
                if not layer.built:
                    layer.build((input_layer.batch_shape[0], *before))
                before = after
        self._layers, self._input_layer, self._shapes = layers, input_layer, shapes
        self.built = bool(shapes)
        self._network = None
        Structure.changed()

    def _maybe_build(self) -> None:
        if self._input_layer is not None and self._layers:
            self._change(self._layers, self._input_layer)

    def build(self, input_shape: Any = None) -> None:
        """Creates the layers' weights for inputs of `input_shape`.

        Args:
            input_shape: (batch size or None, *one sample's shape); may be left out where the model knows it.

        Raises:
            ValueError: no layers, another shape than the model has, or a shape that a layer cannot work on.
        """
        with self._structure_lock:
            if not self._layers:
                raise ValueError(f"{self.name}: build: expected a model with layers, received one without")
            if input_shape is None:
                if self._input_layer is None:
                    _messages.fail(f"{self.name}.build", "input_shape", "(batch size or None, *sample shape)", None)
                self._maybe_build()
                return
            self._build_for(Layer._sample_shape(self, input_shape, "build"), input_shape[0])

    def _build_for(self, sample: tuple[int, ...], batch_size: int | None = None) -> None:
        """Builds for samples of that shape; a model that knows its shape must agree."""
        with self._structure_lock:
            if self._input_layer is None:
                self._change(self._layers, InputLayer(sample, batch_size))
            elif self._input_layer.sample_shape != sample:
                expected = f"the model's input shape {self._input_layer.batch_shape}"
                _messages.fail(f"{self.name}.build", "input_shape", expected, (None, *sample))
            elif not self.built:
                self._maybe_build()

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the input layer."""
        return list(self._layers)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that position.

        Raises:
            ValueError: no such layer, or not exactly one of both arguments.
        """
        if (name is None) == (index is None):
            _messages.fail("get_layer", "name", "either name or index", (name, index))
        if index is not None:
            if not _messages.is_integer(index) or not -len(self._layers) <= index < len(self._layers):
                _messages.fail("get_layer", "index", f"a position among the {len(self._layers)} layers", index)
            return self._layers[index]
        named = {layer.name: layer for layer in self._layers}
        if name not in named:
            _messages.fail("get_layer", "name", f"one of {list(named)}", name)
        return named[name]

    # --- shapes --------------------------------------------------------------------------------------------------

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """(None, *one sample's shape)."""
        if self._input_layer is None:
            raise AttributeError(f"{self.name}: input_shape: the model has not been given an input shape yet")
        return self._input_layer.batch_shape

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """(None, *shape of one sample's output)."""
        if not self.built:
            raise AttributeError(f"{self.name}: output_shape: the model is not built yet")
        return (self.input_shape[0], *self._shapes[-1])

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic input, in a list."""
        shape = self.input_shape
        return [KerasTensor(shape, name=self._input_layer.name if self._input_layer else "input")]

    def get_build_config(self) -> dict[str, Any] | None:
        """{"input_shape": ...}; None before the model is built."""
        return {"input_shape": self.input_shape} if self.built else None

    @property
    def input(self) -> KerasTensor:
        """The symbolic input."""
        return self.inputs[0]

    @property
    def output(self) -> KerasTensor:
        """The symbolic output."""
        return self.outputs[0]

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic output, in a list."""
        return [KerasTensor(self.output_shape, name=self._layers[-1].name if self._layers else "output")]

    def _sample_shape(self, input_shape: Any, operation: str) -> tuple[int, ...]:
        sample = super()._sample_shape(input_shape, operation)
        if self._input_layer is not None and self._input_layer.sample_shape != sample:
            _messages.fail(self.name, "input", f"shape {self._input_layer.batch_shape}", (None, *sample))
        return sample

    def _output_for(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one sample's output for inputs of shape `sample`; builds nothing."""
        if not self._layers:
            raise ValueError(f"{self.name}: layers: expected a model with layers, received one without")
        if self.built and self._input_layer is not None and self._input_layer.sample_shape == sample:
            return self._shapes[-1]
        return _infer(self._layers, sample)[-1]

    # --- the native network --------------------------------------------------------------------------------------

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends all layers' operations."""
        for layer in self._layers:
            layer.append_to(graph, parameters)

    def _mode(self) -> Hashable:
        return tuple((id(layer), layer._mode()) for layer in self._layers)

    def _current_network(self) -> BuiltNetwork:
        """The native network of the layers as they are now. A built model only."""
        network = self._network
        if network is None or not network.is_current():
            with self._structure_lock:
                network = self._network
                if network is None or not network.is_current():
                    assert self._input_layer is not None
                    join(self.weights, self)
                    network = self._network = BuiltNetwork(self._layers, self._input_layer.sample_shape)
        if self._usual_version != Structure.version:
            version = Structure.version
            if network.is_current():
                self._usual, self._usual_version = network.native.predict_usual, version
        return network

    def _network_for(self, input_shape: tuple[int, ...]) -> BuiltNetwork:
        return self._current_network()

    def __call__(self, inputs: Any, training: bool = False) -> NDArray[np.float32]:
        """The model's output for an array.

        Args:
            inputs: (n, *input shape) array of any real dtype; the model is built for it where it is not built yet.
            training: True for training behaviour (dropout, batch statistics).

        Returns:
            (n, *output shape) float32 array.

        Raises:
            ValueError: the array does not fit.
        """
        if not training and self._usual_version == Structure.version:
            outputs = self._usual(inputs)
            if outputs is not None:
                return outputs
        if isinstance(inputs, KerasTensor):
            return super().__call__(inputs)
        x = as_inputs(self.name, inputs)
        network = self._network_for_data(self.name, x)
        if not training:
            return network.native.predict(x, len(x))
        self._training_calls += 1
        return network.native.forward_training(x, self._training_calls - 1)

    def _network_for_data(self, operation: str, x: NDArray[Any]) -> BuiltNetwork:
        """The network, built for `x` where it is not built yet."""
        if self._input_layer is None:
            self._output_for(x.shape[1:])
            self._build_for(x.shape[1:])
        assert self._input_layer is not None
        check_input_shape(operation, x, self._input_layer.sample_shape)
        if not self.built:
            self.build()
        return self._current_network()

    # --- weights -------------------------------------------------------------------------------------------------

    @property
    def weights(self) -> list[Variable]:
        """All layers' variables, layer by layer."""
        return [v for layer in self._layers for v in layer.weights]

    @property
    def trainable_weights(self) -> list[Variable]:
        """The variables that the optimizer changes."""
        return [v for layer in self._layers for v in layer.trainable_weights] if self.trainable else []

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
        for layer in self._layers:
            layer.trainable = self._trainable

    def save(
        self,
        filepath: Any,
        overwrite: bool = True,
        zipped: Any = None,
        *,
        include_optimizer: bool = True,
        dtype: str = "float32",
    ) -> None:
        """Writes the model to one file, whole or not at all; see `saving.save_model`.

        Args:
            filepath: a name that ends in .safetensors (fastcnn's own format) or .keras.
            overwrite: whether an existing file is replaced.
            zipped: None.
            include_optimizer: whether the optimizer's state is written too.
            dtype: of the weights in a .safetensors file: "float32"; "bfloat16" or "float16" for a file half as large.

        Raises:
            ValueError: another ending, an existing file with overwrite=False, a model that is not built, or weights out of
                float16's range.
        """
        from fastcnn.saving import saving_api

        saving_api.save_model(self, filepath, overwrite, zipped, include_optimizer=include_optimizer, dtype=dtype)

    def save_weights(
        self, filepath: Any, overwrite: bool = True, max_shard_size: Any = None, *, dtype: str = "float32"
    ) -> None:
        """Writes all weights to one file, whole or not at all.

        Args:
            filepath: a name that ends in .safetensors, .npz or .weights.h5 (Keras reads it).
            overwrite: whether an existing file is replaced.
            max_shard_size: None.
            dtype: of the weights in a .safetensors file: "float32"; "bfloat16" or "float16" for a file half as large.

        Raises:
            ValueError: another ending, an existing file with overwrite=False, a model that is not built, or weights out of
                float16's range.
        """
        from fastcnn.saving import saving_api

        saving_api.save_weights(self, filepath, overwrite, max_shard_size, dtype=dtype)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False) -> None:
        """Reads all weights from a file of `save_weights`, here or in Keras; checks all of it before anything changes.

        Args:
            filepath: a file *.safetensors, *.npz, *.weights.h5, *.keras or *.h5.
            skip_mismatch: whether weights that are missing, unknown or of another shape are passed over.

        Raises:
            ValueError: the file does not fit the model.
        """
        from fastcnn.saving import saving_api

        saving_api.load_weights(self, filepath, skip_mismatch)

    def to_json(self, **kwargs: Any) -> str:
        """The model's description as JSON, without weights; `models.model_from_json` reads it.

        Args:
            **kwargs: for `json.dumps`.
        """
        from fastcnn.saving import saving_api

        return saving_api.to_json(self, **kwargs)

    def export(
        self, filepath: Any, format: str | None = None, verbose: Any = None, input_signature: Any = None, **kwargs: Any
    ) -> None:
        """Writes the model at inference to a file for other programs, whole or not at all.

        Args:
            filepath: the file.
            format: "onnx" (see https://onnx.ai; needs `pip install "fastcnn[onnx]"`) or "c" (one C99 file that needs nothing but
                libm); by the file's ending by default.
            verbose: whether a line says where the file is; it does by default.
            input_signature: None.
            **kwargs: for ONNX: `opset_version`, 14 to 21, 17 by default; for C: `name`, with which its functions' names begin.

        Raises:
            ValueError: another format or folder, a model that is not built, or one with a layer written in Python.
            ImportError: a package that the format needs is not installed.

        See https://keras.io/api/models/model_saving_apis/export/.
        """
        from fastcnn.models import exporting

        exporting.export(self, filepath, format, verbose, input_signature, kwargs)

    def _require_built(self, operation: str) -> None:
        if not self.built:
            raise ValueError(
                f"{self.name}: {operation}: expected a built model; "
                "give it an input shape, call build(), or call it on data"
            )

    # --- description ---------------------------------------------------------------------------------------------

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Sequence[str] | None = None,
    ) -> None:
        """Prints the layers with their output shapes and numbers of parameters.

        Args:
            line_length: width in characters; 88 by default, or the terminal's if that is less.
            positions: where the columns end, as shares of the width.
            print_fn: receives the whole text at once instead of standard output.
            expand_nested: whether a model inside the model shows its layers.
            show_trainable: whether a column tells which layers are trained.
            layer_range: names of the first and last layer to show, as regular expressions.

        Raises:
            ValueError: no room for the columns, or no such layers.

        Example:
            >>> import fastcnn as keras
            >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(4,), name="last")], name="tiny")
            >>> lines = []
            >>> model.summary(print_fn=lines.append)
            >>> print(lines[0].splitlines()[-3])
             Total params: 5 (20.00 B)

        See https://keras.io/api/models/model/#summary-method
        """
        summaries.print_summary(self, line_length, positions, print_fn, expand_nested, show_trainable, layer_range)

    def explain(self, batch_size: int = 32, training: bool = True) -> list[dict[str, Any]]:
        """Prints the native plan: each step's fused layers, kernel, instruction set, memory and work.

        Args:
            batch_size: the batch that the plan is made for.
            training: whether it is the plan for training, with backward steps.

        Returns:
            One dictionary a step; the last one sums up.

        Raises:
            ValueError: the model is not built, or batch_size is not positive.
        """
        self._require_built("explain")
        size = _messages.integer("explain", "batch_size", batch_size)
        steps = self._current_network().native.explain(size, bool(training))
        print(summaries.explain_table(steps))
        return steps

    def profile(self, x: Any, y: Any = None, sample_weight: Any = None, seconds: float = 0.5) -> list[dict[str, Any]]:
        """Runs the model again and again and prints where the time goes, step by step.

        Without `y` the steps are those of `predict` for these samples. With `y` they are those of one training batch,
        forward and backward, without the optimizer; no weight changes. Speeds are compared with the most that this
        processor can do, which a short loop of multiply-adds finds out. A backward pass counts as many operations
        as a dense one has; one that skips the zeros of pooling and ReLU may come out above the peak.

        Args:
            x: (n, *input shape) samples.
            y: labels, as `fit` takes them; the model must be compiled.
            sample_weight: weights, with `y`.
            seconds: how long to measure.

        Returns:
            One dictionary a step: `explain`'s, with "forward_seconds" and "backward_seconds" (of one run, summed over the
            threads), "gflops" and "share_of_peak" (of one thread). The last one sums up: "elapsed_seconds" of one run,
            "samples", "runs", "other_seconds" (reading, loss, metrics), "peak_gflops" (of one thread).

        Raises:
            ValueError: data that do not fit, `y` for a model that is not compiled, or `seconds` that is not positive.

        Example:
            >>> import numpy as np, fastcnn as keras
            >>> model = keras.Sequential([keras.layers.Conv2D(8, 3, input_shape=(16, 16, 1)), keras.layers.Flatten()])
            >>> x = np.zeros((32, 16, 16, 1), np.float32)
            >>> steps = model.profile(x, seconds=0.01)  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
            layers operation kernel ...
            >>> steps[0]["operation"], steps[0]["forward_seconds"] > 0, steps[-1]["samples"]
            ('conv2d', True, 32)
        """
        seconds = _messages.real("profile", "seconds", seconds, "a positive number", 1e-6)
        if y is not None:
            steps = self._profile_training(x, y, sample_weight, seconds)
        else:
            inputs = as_inputs("profile", x)
            steps = self._network_for_data("profile", inputs).native.profile(inputs, seconds)
        summaries.add_speeds(steps, _core.peak_gflops())
        print(summaries.profile_table(steps))
        return steps

    def get_config(self) -> dict[str, Any]:
        """Name and layers, as plain data."""
        layers: list[Layer] = [] if self._input_layer is None else [self._input_layer]
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "layers": [
                {"class_name": type(layer).__name__, "config": layer.get_config()} for layer in (*layers, *self._layers)
            ],
        }
        if self.built:
            config["build_input_shape"] = self.input_shape
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, type[Layer]] | None = None) -> Sequential:
        """A new model, with new weights, from `get_config()`'s dictionary.

        Args:
            config: the dictionary.
            custom_objects: layer classes that are not fastcnn's, by name.

        Raises:
            ValueError: not such a dictionary, or an unknown layer class.
        """
        if not isinstance(config, Mapping) or "name" not in config or "layers" not in config:
            _messages.fail("Sequential.from_config", "config", "a dictionary with 'name' and 'layers'", config)
        layers = [_layer_from(entry, custom_objects or {}) for entry in config["layers"]]
        model = cls(layers, name=config["name"])
        if not config.get("trainable", True):
            model._trainable = False  # the layers bring their own flags
        if not model.built and config.get("build_input_shape"):
            model.build(tuple(config["build_input_shape"]))
        return model


def _none(x: Any) -> None:
    """Stands for a native function that serves no array."""


def _infer(layers: Sequence[Layer], sample: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of one sample after each layer."""
    shapes: list[tuple[int, ...]] = []
    for layer in layers:
        shape = layer.compute_output_shape((None, *sample))
        sample = tuple(n for n in shape[1:] if n is not None)
        shapes.append(sample)
    return shapes


def _layer_from(entry: Any, custom_objects: Mapping[str, type[Layer]]) -> Layer:
    from fastcnn import layers

    name = entry.get("class_name") if isinstance(entry, Mapping) else None
    known: dict[str, Any] = {key: getattr(layers, key) for key in layers.__all__}
    known = {key: value for key, value in known.items() if isinstance(value, type)}
    known.update(Sequential=Sequential, **custom_objects)
    if name not in known:
        _messages.fail("Sequential.from_config", "class_name", "a layer of fastcnn.layers or custom_objects", name)
    return known[name].from_config(dict(entry["config"]))  # type: ignore[no-any-return]
