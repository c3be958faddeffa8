import pytest

from transept.errors import PluginRecordError


def test_hook_calls_implementers_and_results_go_to_stderr(site, registry, monkeypatch, capsys):
    site.add("seen", keys=("kite",))
    monkeypatch.setenv("TRANSEPT_TRACE", "1")
    registry.get("models", "kite")
    said = capsys.readouterr().err
    assert "provide_models() calls seen:seen" in said
    assert "provide_models -> [[ModelSpec(key='kite'" in said


def test_failures_and_events_are_traced_without_their_tensors(site, registry, monkeypatch, capsys):
    source = "from transept_hookspecs import hookimpl\n@hookimpl\ndef model_saved(folder):\n    pass\n@hookimpl\ndef provide_models():\n    raise ValueError('torn')\n"
    site.add("seen", source=source, entry_points="[transept.observers]\nwatch = seen\n[transept.models]\nkite = seen\n")
    monkeypatch.setenv("TRANSEPT_TRACE", "1")
    registry.notify("model_saved", model=[0] * 1000, folder="here")
    with pytest.raises(PluginRecordError):
        registry.get("models", "kite")
    said = capsys.readouterr().err
    assert "model_saved(model=list, folder=str) calls seen:seen" in said
    assert "ValueError('torn')" in said


def test_without_the_switch_nothing_is_printed(site, registry, capsys):
    site.add("seen", keys=("kite",))
    registry.get("models", "kite")
    assert capsys.readouterr() == ("", "")
