import warnings

import pytest

from transept.errors import PluginError

LISTENS = """
from transept_hookspecs import hookimpl
heard = []
@hookimpl{options}
def model_saved(model, folder):
    heard.append(folder)
    {body}
"""


def observer(site, dist, body="pass", options=""):
    site.add(dist, kind="observers", keys=("watch",), source=LISTENS.format(body=body, options=options))


def test_every_observer_hears_even_under_one_key(site, registry):
    observer(site, "first")
    observer(site, "second")
    registry.notify("model_saved", model=None, folder="here")
    import first
    import second

    assert first.heard == second.heard == ["here"]


def test_an_observer_that_fails_gives_a_warning_with_its_name_and_stops_nobody(site, registry):
    observer(site, "grumpy", body="raise ValueError('no mood')")
    observer(site, "cheerful")
    with pytest.warns(RuntimeWarning, match="`grumpy` 1.0.*ValueError: no mood"):
        registry.notify("model_saved", model=None, folder="here")
    import cheerful
    import grumpy

    assert grumpy.heard == cheerful.heard == ["here"]


def test_an_observer_that_does_not_load_gives_one_warning(site, registry):
    site.add("sick", kind="observers", keys=("watch",), source="raise OSError('sick')")
    observer(site, "well")
    with pytest.warns(RuntimeWarning, match="`sick` 1.0"):
        registry.notify("model_saved", model=None, folder="a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.notify("model_saved", model=None, folder="b")
    import well

    assert well.heard == ["a", "b"]


def test_an_observer_takes_the_arguments_it_wants_and_the_order_it_asks_for(site, registry):
    import builtins

    builtins.order = []
    source = "from transept_hookspecs import hookimpl\nimport builtins\n@hookimpl{}\ndef generation_step(step):\n    builtins.order.append('{}')\n"
    for name, options in (("a_plain", ""), ("b_last", "(trylast=True)"), ("c_first", "(tryfirst=True)")):
        site.add(name, kind="observers", keys=(name,), source=source.format(options, name))
    registry.notify("generation_step", model=None, step=3)
    assert builtins.order == ["c_first", "a_plain", "b_last"]
    del builtins.order


def test_an_event_that_does_not_exist_is_an_error(registry):
    with pytest.raises(PluginError, match="Did you mean `model_saved`"):
        registry.notify("model_save", folder="x")


def test_observers_follow_the_allow_list_and_what_is_registered(site, registry, monkeypatch):
    observer(site, "watcher")
    observer(site, "other")
    monkeypatch.setenv("TRANSEPT_PLUGINS", "other")
    registry.notify("model_saved", model=None, folder="one")
    import other

    assert other.heard == ["one"]
    assert site.loaded() == {"other"}

    from transept_hookspecs import hookimpl

    mine = []

    class Mine:
        @hookimpl
        def model_saved(self, folder):
            mine.append(folder)

    with registry.register(Mine(), "mine"):
        registry.notify("model_saved", model=None, folder="two")
    registry.notify("model_saved", model=None, folder="three")
    assert mine == ["two"]
    assert other.heard == ["one", "two", "three"]


def test_announcing_to_nobody_loads_nothing(site):
    done = site.python(
        """
        import sys
        from transept.discovery import registry
        registry.notify("generation_step", model=None, step=0)
        assert not {"pluggy", "pydantic", "torch"} & sys.modules.keys(), sys.modules.keys()
        """
    )
    assert done.returncode == 0, done.stderr
