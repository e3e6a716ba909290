"""Sequences of several lengths. https://keras.io/api/data_loading/timeseries/"""

from fastcnn.utils.sequence import pad_sequences as pad_sequences

__all__ = ["pad_sequences"]
