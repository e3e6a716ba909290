"""The settings of the process that Keras's programs make."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import config, layers, utils


@pytest.fixture(autouse=True)
def settings_afterwards():
    yield
    config.set_image_data_format("channels_last")
    config.enable_interactive_logging()
    config.set_max_epochs(None)
    config.set_max_steps_per_epoch(None)


def compiled():
    model = keras.Sequential([layers.Dense(1, input_shape=(3,))])
    model.compile(optimizer="sgd", loss="mse")
    return model, np.zeros((40, 3), np.float32), np.zeros(40, np.float32)


def test_the_order_of_axes_is_that_of_what_is_given_none():
    config.set_image_data_format("channels_first")
    assert layers.Conv2D(4, 3).compute_output_shape((None, 3, 8, 9)) == (None, 4, 6, 7)
    assert layers.Conv2D(4, 3, data_format="channels_last").compute_output_shape((None, 8, 9, 3)) == (None, 6, 7, 4)
    assert utils.img_to_array(np.zeros((5, 6))).shape == (1, 5, 6)
    with pytest.raises(ValueError, match="max_pool: data_format: expected 'channels_last', received 'channels_first'"):
        keras.ops.max_pool(np.zeros((1, 4, 4, 1), np.float32), 2)
    with pytest.raises(ValueError, match="set_image_data_format: data_format: expected 'channels_last' or"):
        config.set_image_data_format("channels_middle")
    assert config.image_data_format() == "channels_first"


def test_messages_go_to_the_log_where_nobody_watches(capsys, caplog):
    model, x, y = compiled()
    config.disable_interactive_logging()
    with caplog.at_level(logging.INFO, "fastcnn"):
        model.fit(x, y, epochs=2)
    assert capsys.readouterr().out == ""
    assert [line for line in caplog.messages if line.startswith("Epoch")] == ["Epoch 1/2", "Epoch 2/2"]
    config.enable_interactive_logging()
    model.fit(x, y)
    assert "loss" in capsys.readouterr().out


def test_limits_for_a_quick_trial(monkeypatch):
    model, x, y = compiled()
    config.set_max_epochs(2)
    config.set_max_steps_per_epoch(3)
    with pytest.warns(UserWarning, match=r"fit: epochs: 2 instead of 9, as config.max_epochs\(\) says"):
        history = model.fit(x, y, epochs=9, batch_size=4, verbose=0)
    assert history.epoch == [0, 1]
    assert int(model.optimizer.iterations) == 6
    config.set_max_epochs(None)
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    assert config.max_epochs() == 1
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "some")
    with pytest.raises(ValueError, match="config: KERAS_MAX_EPOCHS: expected a positive integer, received 'some'"):
        config.max_epochs()


def test_what_cannot_be_set_is_refused():
    for call in (lambda: config.set_epsilon(1e-3), lambda: config.set_max_epochs(0)):
        with pytest.raises(ValueError, match="expected"):
            call()
    config.set_epsilon(1e-7)
    config.set_floatx("float32")
