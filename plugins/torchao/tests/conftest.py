"""A small float checkpoint, filled by names alone."""

import pytest

testing = pytest.importorskip("transept_testing.quantizers.suite")


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory):
    """Two layers of a llama."""

    class Suite(testing.QuantizerSuite, standard=True):
        key = "torchao"

    folder = tmp_path_factory.mktemp("llama")
    Suite().float_model("llama").save_pretrained(folder)
    return folder
