"""Callbacks: code that runs while a model trains, is evaluated or predicts. https://keras.io/api/callbacks/"""

from fastcnn._lazy import nothing_called
from fastcnn.callbacks.backup_and_restore import BackupAndRestore as BackupAndRestore
from fastcnn.callbacks.callback import Callback as Callback
from fastcnn.callbacks.callback_list import CallbackList as CallbackList
from fastcnn.callbacks.csv_logger import CSVLogger as CSVLogger
from fastcnn.callbacks.early_stopping import EarlyStopping as EarlyStopping
from fastcnn.callbacks.history import History as History
from fastcnn.callbacks.lambda_callback import LambdaCallback as LambdaCallback
from fastcnn.callbacks.learning_rate import LearningRateScheduler as LearningRateScheduler
from fastcnn.callbacks.learning_rate import ReduceLROnPlateau as ReduceLROnPlateau
from fastcnn.callbacks.model_checkpoint import ModelCheckpoint as ModelCheckpoint
from fastcnn.callbacks.progbar_logger import ProgbarLogger as ProgbarLogger
from fastcnn.callbacks.remote_monitor import RemoteMonitor as RemoteMonitor
from fastcnn.callbacks.swap_ema_weights import SwapEMAWeights as SwapEMAWeights
from fastcnn.callbacks.tensorboard import TensorBoard as TensorBoard
from fastcnn.callbacks.terminate_on_nan import TerminateOnNaN as TerminateOnNaN

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]

__getattr__ = nothing_called(__name__, __all__, {"OrbaxCheckpoint": "ModelCheckpoint"})
