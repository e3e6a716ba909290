"""The layers of a Sequential model. See https://keras.io/api/layers/."""

from typing import TYPE_CHECKING

from fastcnn._lazy import attach, nothing_called
from fastcnn.layers.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from fastcnn.layers.convolutional import Conv1D, Conv2D
from fastcnn.layers.dense import Dense
from fastcnn.layers.depthwise import DepthwiseConv1D, DepthwiseConv2D, SeparableConv1D, SeparableConv2D
from fastcnn.layers.input_layer import Input, InputLayer
from fastcnn.layers.input_spec import InputSpec
from fastcnn.layers.layer import Layer
from fastcnn.layers.normalization import BatchNormalization
from fastcnn.layers.pooling import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AveragePooling1D,
    AveragePooling2D,
    AvgPool1D,
    AvgPool2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPool1D,
    MaxPool2D,
    MaxPooling1D,
    MaxPooling2D,
)
from fastcnn.layers.regularization import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
)
from fastcnn.layers.reshaping import Flatten, Identity, Permute, RepeatVector, Reshape
from fastcnn.layers.resizing import Cropping1D, Cropping2D, UpSampling1D, UpSampling2D, ZeroPadding1D, ZeroPadding2D
from fastcnn.layers.sample_normalization import (
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)
from fastcnn.layers.transposed import Conv1DTranspose, Conv2DTranspose

if TYPE_CHECKING:
    from fastcnn.layers.preprocessing.color import (
        RandomBrightness,
        RandomContrast,
        RandomErasing,
        RandomGrayscale,
        RandomInvert,
        Solarization,
    )
    from fastcnn.layers.preprocessing.geometry import (
        RandomCrop,
        RandomFlip,
        RandomRotation,
        RandomShear,
        RandomTranslation,
        RandomZoom,
    )
    from fastcnn.layers.preprocessing.pipeline import Pipeline
    from fastcnn.layers.preprocessing.resizing import CenterCrop, Resizing
    from fastcnn.layers.preprocessing.scaling import Normalization, Rescaling
    from fastcnn.layers.serialization import deserialize as deserialize
    from fastcnn.layers.serialization import serialize as serialize

Convolution1D, Convolution2D = Conv1D, Conv2D
Convolution1DTranspose, Convolution2DTranspose = Conv1DTranspose, Conv2DTranspose
SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D

__all__ = [
    "ELU",
    "Activation",
    "ActivityRegularization",
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AlphaDropout",
    "AveragePooling1D",
    "AveragePooling2D",
    "AvgPool1D",
    "AvgPool2D",
    "BatchNormalization",
    "CenterCrop",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Convolution1D",
    "Convolution1DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GroupNormalization",
    "Identity",
    "Input",
    "InputLayer",
    "InputSpec",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPooling1D",
    "MaxPooling2D",
    "Normalization",
    "PReLU",
    "Permute",
    "Pipeline",
    "RMSNormalization",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomGrayscale",
    "RandomInvert",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Resizing",
    "SeparableConv1D",
    "SeparableConv2D",
    "SeparableConvolution1D",
    "SeparableConvolution2D",
    "Softmax",
    "Solarization",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
]

# What stands in for a layer that is not there, where its name does not say so.
_INSTEAD = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM1D", "TimeDistributed"), "Conv1D"),
    **dict.fromkeys(("Embedding", "EinsumDense"), "Dense"),
    **dict.fromkeys(("MultiHeadAttention", "Attention", "AdditiveAttention"), "Conv1D"),
    **dict.fromkeys(("Add", "Concatenate", "Average", "Multiply", "Subtract", "Dot", "Maximum", "Minimum"), "Layer"),
    **dict.fromkeys(("Lambda", "Wrapper"), "Layer"),
    **dict.fromkeys(("Masking", "SpectralNormalization"), "Identity"),
}


# Imported when they are asked for.
_PLACES = {
    "fastcnn.layers.preprocessing.color": (
        "RandomBrightness",
        "RandomContrast",
        "RandomErasing",
        "RandomGrayscale",
        "RandomInvert",
        "Solarization",
    ),
    "fastcnn.layers.preprocessing.geometry": (
        "RandomCrop",
        "RandomFlip",
        "RandomRotation",
        "RandomShear",
        "RandomTranslation",
        "RandomZoom",
    ),
    "fastcnn.layers.preprocessing.pipeline": ("Pipeline",),
    "fastcnn.layers.preprocessing.resizing": ("CenterCrop", "Resizing"),
    "fastcnn.layers.preprocessing.scaling": ("Normalization", "Rescaling"),
    "fastcnn.layers.serialization": ("deserialize", "serialize"),
}

__getattr__ = attach(__name__, _PLACES, nothing_called(__name__, __all__, _INSTEAD))
