import types

import pytest

from transept.errors import PluginNotFoundError, PluginRecordError
from transept_hookspecs import ConfigSpec, ModelSpec, hookimpl


def plugin(*keys, config="a.b:C"):
    class Plugin:
        @hookimpl
        def provide_models(self):
            return [ModelSpec(key=key, config=config, tasks={}) for key in keys]

        @hookimpl
        def provide_configs(self):
            return [ConfigSpec(key=key, config=config) for key in keys]

    return Plugin()


def test_a_registered_plugin_serves_until_it_is_closed(site, registry):
    with registry.register(plugin("kite"), "mine"):
        assert registry.get("models", "kite").key == "kite"
        assert registry.get("configs", "kite").key == "kite"
        assert registry.dist_of("models", "kite") == ("(registered)", "")
        assert "kite" in registry.keys("models")
        assert "kite" in [record.key for record in registry.records("configs")]
        entry = next(entry for entry in registry.entries("models") if entry.key == "kite")
        assert entry.dist == "(registered)"
        assert registry.status(entry) == ("ok", None)
    assert registry.find("models", "kite") is None


def test_a_registered_plugin_stands_above_an_installed_one_and_the_later_above_the_earlier(site, registry):
    site.add("installed", keys=("kite",))
    early = registry.register(plugin("kite", config="early:C"), "early")
    late = registry.register(plugin("kite", config="late:C"), "late")
    assert registry.get("models", "kite").config == "late:C"
    late.close()
    late.close()
    assert registry.get("models", "kite").config == "early:C"
    early.close()
    assert registry.get("models", "kite").config == "no_such.place:Config"


def test_the_allow_list_is_about_what_is_installed(site, registry, monkeypatch):
    monkeypatch.setenv("TRANSEPT_PLUGINS", "none")
    with registry.register(plugin("kite"), "mine"):
        assert registry.get("models", "kite").key == "kite"


def test_a_module_can_be_registered(registry):
    module = types.ModuleType("notebook")
    exec(
        "from transept_hookspecs import *\n@hookimpl\ndef provide_models():\n    return [ModelSpec(key='kite', config='a:B', tasks={})]",
        vars(module),
    )
    with registry.register(module, "notebook"):
        assert registry.get("models", "kite").key == "kite"


def test_a_registered_plugin_is_validated_at_once_and_not_kept_when_wrong(registry):
    class Wrong:
        @hookimpl
        def provide_models(self):
            return ["kite"]

    with pytest.raises(PluginRecordError, match="the registered plugin `wrong`"):
        registry.register(Wrong(), "wrong")
    assert registry._state.registered == ()


def test_an_isolated_registry_knows_only_what_is_registered_in_it(site, registry):
    site.add("installed", keys=("kite",))
    outside = registry.register(plugin("outside"), "outside")
    with registry.isolated() as inside:
        assert inside is registry
        assert inside.keys("models") == []
        assert inside.entries() == []
        assert inside.find("caches", "dynamic") is None
        with pytest.raises(PluginNotFoundError, match="isolated"):
            inside.get("models", "kite")
        inside.register(plugin("plane"), "inside")
        assert inside.keys("models") == ["plane"]
        inside.notify("model_saved", model=None, folder="x")
    assert "kite" in registry.keys("models")
    assert "outside" in registry.keys("models")
    assert "plane" not in registry.keys("models")
    outside.close()


def test_isolation_ends_with_an_exception_too(registry):
    with pytest.raises(ZeroDivisionError), registry.isolated():
        raise ZeroDivisionError
    assert "dynamic" in registry.keys("caches")


def test_the_cores_own_plugins_can_be_registered_in_isolation(registry):
    import transept.plugin

    with registry.isolated():
        registry.register(transept.plugin, "core")
        assert registry.keys("attention") == ["eager", "sdpa"]
