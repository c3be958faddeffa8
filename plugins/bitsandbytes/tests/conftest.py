"""Small float checkpoints, filled by names alone."""

import pytest

testing = pytest.importorskip("transept_testing.quantizers.suite")


def _saved(name, folder, task=None):
    class Suite(testing.QuantizerSuite, standard=True):
        key = "bitsandbytes"

    suite = Suite()
    if task is None:
        suite.float_model(name).save_pretrained(folder)
    else:
        suite.architectures = {name: testing.Architecture(name, task, testing.ARCHITECTURES[name].make)}
        suite.float_model(name).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory):
    """Two layers of a llama."""
    return _saved("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    """A BERT without a head."""
    return _saved("bert", tmp_path_factory.mktemp("bert"), "base")
