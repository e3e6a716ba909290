"""The layers of a Sequential model. See https://keras.io/api/layers/."""

from typing import NoReturn

from fastcnn.layers.activation import Activation, ReLU, Softmax
from fastcnn.layers.convolutional import Conv2D
from fastcnn.layers.dense import Dense
from fastcnn.layers.dropout import Dropout
from fastcnn.layers.input_layer import Input, InputLayer
from fastcnn.layers.layer import Layer
from fastcnn.layers.normalization import BatchNormalization
from fastcnn.layers.pooling import (
    AveragePooling2D,
    AvgPool2D,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling2D,
)
from fastcnn.layers.reshaping import Flatten, Reshape

Convolution2D = Conv2D

__all__ = [
    "Activation",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Conv2D",
    "Convolution2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "Input",
    "InputLayer",
    "Layer",
    "MaxPool2D",
    "MaxPooling2D",
    "ReLU",
    "Reshape",
    "Softmax",
]


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(f"fastcnn.layers has no {name!r}; it has {', '.join(__all__)}")
