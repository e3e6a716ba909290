"""A model as a drawing, through pydot and Graphviz: pip install "fastcnn[plot]"; apt-get install graphviz."""

from __future__ import annotations

import os
import sys
from typing import Any

from fastcnn import _messages
from fastcnn.utils.io import print_message


def _pydot(operation: str) -> Any:
    try:
        import pydot
    except ImportError as error:
        raise ImportError(
            f'{operation}: pydot: expected to be installed, received none; run: pip install "fastcnn[plot]"'
        ) from error
    return pydot


def _cell(text: str, background: str = "white", color: str = "black", span: int = 1) -> str:
    return f'<td bgcolor="{background}" colspan="{span}"><font point-size="14" color="{color}">{text}</font></td>'


def _label(layer: Any, shapes: tuple[Any, Any], show: dict[str, bool]) -> str:
    """The table that stands for a layer, in Graphviz's HTML."""
    cells = []
    if show["shapes"]:
        cells += [_cell(f"Input shape: <b>{shapes[0]}</b>"), _cell(f"Output shape: <b>{shapes[1]}</b>")]
    if show["dtype"]:
        cells.append(_cell(f"Output dtype: <b>{layer.dtype}</b>"))
    if show["trainable"] and layer.weights:
        word, background = ("Trainable", "forestgreen") if layer.trainable else ("Non-trainable", "firebrick")
        cells.append(_cell(f"<b>{word}</b>", background, "white"))
    span = max(1, len(cells))
    kind = type(layer).__name__
    title = f"<b>{layer.name}</b> ({kind})" if show["names"] else f"<b>{kind}</b>"
    rows = [_cell(title, "black", "white", span)]
    activation = getattr(layer, "activation", None)
    if show["activations"] and activation is not None:
        name = getattr(activation, "__name__", type(activation).__name__)
        rows.append(_cell(f"Activation: <b>{name}</b>", span=span))
    if cells:
        rows.append("".join(cells))
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<<table border="0" cellborder="1" bgcolor="black" cellpadding="10">{table}</table>>'


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    subgraph: bool = False,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
) -> Any:
    """The model as a graph of pydot.

    Args:
        model: a built model.
        show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable: what a layer's box shows.
        rankdir: "TB" from top to bottom, "LR" from left to right.
        expand_nested: whether models inside the model show their layers.
        dpi: dots per inch.
        subgraph: whether the result is a `pydot.Cluster`.
        splines: how edges are drawn, in Graphviz's words.

    Raises:
        ValueError: the model is not built.
        ImportError: pydot is not installed.

    See https://keras.io/api/utils/model_plotting_utils/#modeltodot-function
    """
    if not model.built:
        _messages.fail("model_to_dot", "model", "a built model", model)
    pydot = _pydot("model_to_dot")
    show = {
        "shapes": show_shapes,
        "dtype": show_dtype,
        "names": show_layer_names,
        "activations": show_layer_activations,
        "trainable": show_trainable,
    }
    if subgraph:
        graph = pydot.Cluster(graph_name=model.name, label=model.name, labeljust="l", style="dashed")
    else:
        graph = pydot.Dot(rankdir=rankdir, concentrate=True, dpi=dpi, splines=splines)
        graph.set_node_defaults(shape="record")
    _draw(pydot, graph, model, model.input_shape, show, expand_nested)
    return graph


def _draw(
    pydot: Any, graph: Any, model: Any, shape: tuple[int | None, ...], show: dict[str, bool], expand: bool
) -> tuple[str | None, str | None]:
    """Adds the layers, joined; returns the first one's and the last one's node."""
    first = last = None
    for layer in model.layers:
        before, shape = shape, layer.compute_output_shape(shape)
        if expand and hasattr(layer, "layers"):
            cluster = pydot.Cluster(graph_name=layer.name, label=layer.name, labeljust="l", style="dashed")
            enter, leave = _draw(pydot, cluster, layer, before, show, expand)
            graph.add_subgraph(cluster)
        else:
            enter = leave = str(id(layer))
            label = _label(layer, (before, shape), show)
            graph.add_node(pydot.Node(enter, label=label, fontname="Helvetica", border="0", margin="0"))
        if last is not None and enter is not None:
            graph.add_edge(pydot.Edge(last, enter))
        first, last = first or enter, leave or last
    return first, last


def plot_model(
    model: Any,
    to_file: Any = "model.png",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
    splines: str = "ortho",
) -> Any:
    """Draws the model into a file.

    Args:
        model: a built model.
        to_file: the file; its ending tells the format, .png where there is none.
        show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable: what a layer's box shows.
        rankdir: "TB" from top to bottom, "LR" from left to right.
        expand_nested: whether models inside the model show their layers.
        dpi: dots per inch.
        splines: how edges are drawn, in Graphviz's words.

    Returns:
        An image for a notebook where IPython runs, otherwise None.

    Raises:
        ValueError: the model is not built.
        ImportError: pydot or Graphviz is not installed; in a notebook a sentence is printed instead.

    Example:
        >>> import fastcnn as keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> keras.utils.plot_model(model, "model.png", show_shapes=True)  # doctest: +SKIP

    See https://keras.io/api/utils/model_plotting_utils/#plotmodel-function
    """
    if not model.built:
        _messages.fail("plot_model", "model", "a built model", model)
    try:
        pydot = _pydot("plot_model")
        try:
            pydot.Dot.create(pydot.Dot())
        except OSError as error:
            raise ImportError(
                "plot_model: Graphviz: expected its program dot on the path, received none; "
                "see https://graphviz.org/download/"
            ) from error
    except ImportError as error:
        if "IPython.core.magics.namespace" not in sys.modules:
            raise
        print_message(str(error))
        return None
    graph = model_to_dot(
        model, show_shapes, show_dtype, show_layer_names, rankdir, expand_nested, dpi,
        show_layer_activations=show_layer_activations, show_trainable=show_trainable, splines=splines,
    )  # fmt: skip
    path = os.fspath(to_file)
    ending = os.path.splitext(path)[1][1:] or "png"
    graph.write(path, format=ending)
    if "IPython.core.magics.namespace" in sys.modules and ending != "pdf":
        from IPython import display

        return display.Image(filename=path)
    return None
