"""Callbacks that write for others: backups, TensorBoard's event files, a server."""

import json
import os
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import callbacks, layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.float32)


def classifier(optimizer="adam"):
    keras.utils.set_random_seed(1)
    stack = [keras.Input((6,)), layers.Dense(8, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.2)]
    model = keras.Sequential([*stack, layers.Dense(1, "sigmoid")])
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


class Interrupt(callbacks.Callback):
    def __init__(self, epoch, batch=0):
        super().__init__()
        self.at, self.epoch = (epoch, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise RuntimeError("power cut")


def interrupted(folder, epoch, batch=0, **arguments):
    model = classifier()
    calls = [callbacks.BackupAndRestore(folder, **arguments), Interrupt(epoch, batch)]
    with pytest.raises(RuntimeError, match="power cut"):
        model.fit(X, Y, batch_size=20, epochs=5, callbacks=calls, verbose=0)
    return model


# --- BackupAndRestore -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("epoch", "batch"), [(0, 1), (1, 0), (3, 2)])
def test_training_that_was_interrupted_ends_as_one_that_was_not(tmp_path, epoch, batch):
    whole = classifier()
    history = whole.fit(X, Y, batch_size=20, epochs=5, verbose=0).history
    interrupted(tmp_path / "backup", epoch, batch)
    model = classifier()  # another program's start
    backup = callbacks.BackupAndRestore(tmp_path / "backup")
    again = model.fit(X, Y, batch_size=20, epochs=5, callbacks=[backup], verbose=0)
    assert again.epoch == list(range(5))
    assert again.history == history
    for a, b in zip(model.get_weights(), whole.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer.iterations == whole.optimizer.iterations == 15
    assert not (tmp_path / "backup").exists()
    assert len(model.fit(X, Y, epochs=2, verbose=0).epoch) == 2  # the start was for that fit alone


def test_backups_every_few_batches_go_on_inside_the_epoch(tmp_path):
    whole = classifier()
    history = whole.fit(X, Y, batch_size=20, epochs=3, verbose=0).history
    callback = callbacks.BackupAndRestore(tmp_path / "backup", save_freq=2, delete_checkpoint=False)
    interrupted(tmp_path / "backup", 1, 2, save_freq=2)
    model = classifier()
    assert model.fit(X, Y, batch_size=20, epochs=3, callbacks=callback, verbose=0).history == history
    for a, b in zip(model.get_weights(), whole.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert os.listdir(tmp_path / "backup") == ["latest.safetensors"]
    never = callbacks.BackupAndRestore(tmp_path / "never", save_freq=False)
    classifier().fit(X, Y, callbacks=never, verbose=0)
    assert not (tmp_path / "never").exists() and not callbacks.CallbackList([never]).batch_hooks


def test_the_backup_before_stands_in_for_one_that_cannot_be_read(tmp_path):
    interrupted(tmp_path, 3, double_checkpoint=True)
    (tmp_path / "latest.safetensors").write_bytes((tmp_path / "latest.safetensors").read_bytes()[:500])
    callback = callbacks.BackupAndRestore(tmp_path, double_checkpoint=True)
    assert classifier().fit(X, Y, batch_size=20, epochs=5, callbacks=callback, verbose=0).epoch == [0, 1, 2, 3, 4]
    interrupted(tmp_path, 3)
    (tmp_path / "latest.safetensors").write_bytes(b"nothing")
    with pytest.raises(OSError, match="BackupAndRestore: backup_dir: expected a backup of this training"):
        classifier().fit(X, Y, callbacks=callbacks.BackupAndRestore(tmp_path), verbose=0)


def test_a_backup_of_another_model_changes_nothing(tmp_path):
    interrupted(tmp_path, 1)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match="expected a backup of this model, with 2 weights"):
        model.fit(X, Y, callbacks=callbacks.BackupAndRestore(tmp_path), verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    other = classifier("sgd")
    before = other.get_weights()
    with pytest.raises(ValueError, match="(?i)slots|set_state"):
        other.fit(X, Y, batch_size=20, callbacks=callbacks.BackupAndRestore(tmp_path), verbose=0)
    np.testing.assert_array_equal(other.get_weights()[0], before[0])


@pytest.mark.parametrize(
    "arguments", [{"backup_dir": ""}, {"backup_dir": "x", "save_freq": "batch"}, {"backup_dir": 3}]
)
def test_backup_refuses(arguments):
    with pytest.raises(ValueError, match="BackupAndRestore: "):
        callbacks.BackupAndRestore(**arguments)


# --- TensorBoard ----------------------------------------------------------------------------------------------------


def events(folder):
    """Everything in a folder's event files: (tag, step, value)."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):  # length, its checksum, the record, its checksum
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [(value.tag, event.step, value) for value in event.summary.value]
            at += length + 16
    return found


@pytest.fixture
def tensorboard():
    pytest.importorskip("tensorboardX")


@pytest.mark.usefixtures("tensorboard")
def test_epochs_logs_are_keras_names_in_keras_folders(tmp_path):
    model = classifier()
    board = callbacks.TensorBoard(tmp_path, write_steps_per_second=True, histogram_freq=2)
    assert not callbacks.CallbackList([board]).batch_hooks
    history = model.fit(X, Y, epochs=3, validation_split=0.2, callbacks=board, verbose=0).history
    train, held = events(tmp_path / "train"), events(tmp_path / "validation")
    scalars = {(tag, step): value.simple_value for tag, step, value in train if value.HasField("simple_value")}
    names = ("accuracy", "loss", "learning_rate", "steps_per_second")
    assert set(scalars) == {(f"epoch_{name}", epoch) for name in names for epoch in range(3)}
    for epoch in range(3):
        assert scalars["epoch_loss", epoch] == pytest.approx(history["loss"][epoch], rel=1e-6)
    assert scalars["epoch_learning_rate", 0] == pytest.approx(1e-3) and scalars["epoch_steps_per_second", 0] > 0
    values = {(tag, step): value.simple_value for tag, step, value in held}
    assert values["epoch_loss", 2] == pytest.approx(history["val_loss"][2], rel=1e-6)
    assert values["evaluation_loss_vs_iterations", 4] == pytest.approx(history["val_loss"][1], rel=1e-6)
    histograms = [(tag, step) for tag, step, value in train if value.HasField("histo")]
    assert histograms == [(f"{v.path}/histogram", epoch) for epoch in (0, 2) for v in model.weights]
    last = next(value.histo for tag, step, value in train if tag.endswith("kernel/histogram") and step == 2)
    assert last.num == 48 and last.sum == pytest.approx(float(model.layers[0].kernel.numpy().sum()), abs=0.1)
    (graph,) = [value for tag, _, value in train if tag == "keras"]
    config = json.loads(graph.tensor.string_val[0])
    assert graph.metadata.plugin_data.plugin_name == "graph_keras_model"
    assert [layer["class_name"] for layer in config["config"]["layers"]][:2] == ["InputLayer", "Dense"]


@pytest.mark.usefixtures("tensorboard")
def test_batches_where_asked_for_and_evaluation_alone(tmp_path):
    model = classifier()
    board = callbacks.TensorBoard(tmp_path, update_freq=2, write_graph=False, write_images=True, histogram_freq=1)
    pytest.importorskip("PIL")
    model.fit(X, Y, batch_size=20, epochs=2, callbacks=board, verbose=0)
    train = events(tmp_path / "train")
    assert [step for tag, step, _ in train if tag == "batch_loss"] == [2, 4, 6]
    pictures = [tag for tag, step, value in train if value.HasField("image") and step == 1]
    assert any("kernel/image/0" in tag for tag in pictures) and not any("/image/3" in tag for tag in pictures)
    model.evaluate(X, Y, callbacks=callbacks.TensorBoard(tmp_path / "other", write_graph=False), verbose=0)
    tags = [(tag, step) for tag, step, _ in events(tmp_path / "other" / "validation")]
    assert tags == [("evaluation_accuracy_vs_iterations", 6), ("evaluation_loss_vs_iterations", 6)]


@pytest.mark.usefixtures("tensorboard")
@pytest.mark.parametrize(
    "arguments", [{"profile_batch": 2}, {"embeddings_freq": 1}, {"update_freq": 0}, {"histogram_freq": -1}]
)
def test_tensorboard_refuses(arguments):
    with pytest.raises(ValueError, match="TensorBoard: "):
        callbacks.TensorBoard(**arguments)


def test_without_tensorboardx_the_sentence_says_what_to_install():
    program = "import sys; sys.modules['tensorboardX'] = None\nimport fastcnn\nfastcnn.callbacks.TensorBoard()"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (
        'ImportError: TensorBoard: tensorboardX: expected to be installed, received none; run: pip install "fastcnn[tensorboard]"'
        in result.stderr
    )


# --- RemoteMonitor --------------------------------------------------------------------------------------------------


@pytest.fixture
def server():
    """A server on this machine that keeps what it is sent: (path, headers, body)."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, dict(self.headers), body.decode()))
            self.send_response(500 if "broken" in self.path else 200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", received
    http.shutdown()
    thread.join()
    http.server_close()


def test_server_gets_the_logs_of_every_epoch(server):
    root, received = server
    history = classifier().fit(X, Y, epochs=2, callbacks=callbacks.RemoteMonitor(root), verbose=0).history
    path, headers, body = received[1]
    assert path == "/publish/epoch/end/" and headers["Content-Type"] == "application/x-www-form-urlencoded"
    sent = json.loads(parse_qs(body)["data"][0])
    assert sent == {"epoch": 1, "accuracy": history["accuracy"][1], "loss": history["loss"][1]}
    monitor = callbacks.RemoteMonitor(root, path="/here", headers={"X-Key": "k"}, send_as_json=True)
    monitor.on_epoch_end(3, {"loss": np.float32(0.5)})
    path, headers, body = received[2]
    assert (path, headers["X-Key"], headers["Content-Type"]) == ("/here", "k", "application/json")
    assert json.loads(body) == {"epoch": 3, "loss": 0.5}


def test_a_server_that_fails_is_a_warning(server):
    root, _ = server
    with pytest.warns(UserWarning, match="RemoteMonitor: root: expected a server that answers"):
        callbacks.RemoteMonitor(root, path="/broken").on_epoch_end(0, {})
    with pytest.warns(UserWarning, match="expected a server that answers"):
        callbacks.RemoteMonitor("http://127.0.0.1:1").on_epoch_end(0, {})
    with pytest.raises(ValueError, match="root: expected an address"):
        callbacks.RemoteMonitor("file:///etc/passwd")
