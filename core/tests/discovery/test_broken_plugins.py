import os
import sys
import warnings

import pytest

from transept.discovery import load_object
from transept.errors import PluginImportError, PluginRecordError

IMPLEMENTED = "from transept_hookspecs import ModelSpec, ConfigSpec, hookimpl\n@hookimpl\ndef provide_models():\n    {body}\n"


def test_a_plugin_that_raises_on_import_is_named_with_its_cause(site, registry):
    site.add("sick-plugin", "3.2", keys=("sick",), source="raise OSError('undefined symbol: _ZN3foo')")
    site.add("well", keys=("well",))
    assert registry.get("models", "well").key == "well"
    with pytest.raises(PluginImportError) as caught:
        registry.get("models", "sick")
    for part in ("`sick-plugin`", "3.2", "`sick_plugin`", "OSError", "undefined symbol: _ZN3foo"):
        assert part in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert isinstance(caught.value, ImportError)


def test_a_plugin_that_exits_on_import_does_not_take_the_program_along(site, registry):
    site.add("quitter", keys=("quit",), source="raise SystemExit('bye')")
    with pytest.raises(PluginImportError, match="SystemExit: bye"):
        registry.get("models", "quit")


def test_a_missing_dependency_is_named(site, registry):
    site.add("needy", keys=("needy",), source="import no_such_library_at_all")
    with pytest.raises(PluginImportError, match="The module `no_such_library_at_all` is missing"):
        registry.get("models", "needy")


def test_code_that_is_not_on_the_path_is_told_from_a_missing_dependency(site, registry):
    site.add("ghost", keys=("ghost",))
    (site.root / "ghost.py").unlink()
    with pytest.raises(PluginImportError, match="restart Python"):
        registry.get("models", "ghost")


def test_a_plugin_that_was_mended_serves_at_the_next_try(site, registry):
    site.add("sick", keys=("kite",), source="raise OSError('sick')")
    with pytest.raises(PluginImportError):
        registry.get("models", "kite")
    assert not registry._state.plugins
    (site.root / "sick.py").write_text(site.models("kite") + "\n# well again\n")
    assert registry.get("models", "kite").key == "kite"


def test_listing_leaves_out_the_broken_with_one_warning_and_one_import(site, registry, monkeypatch):
    site.add("sick", keys=("sick",), source="import builtins\nbuiltins.sick_imports += 1\nraise OSError('sick')")
    site.add("well", keys=("well",))
    os.utime(site.root, (1_000_000, 1_000_000))
    monkeypatch.setattr(sys, "path", [str(site.root)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a cache folder would be a change of the place, and a new try
    import builtins

    builtins.sick_imports = 0
    with pytest.warns(RuntimeWarning, match="`sick` 1.0.*sick") as caught:
        keys = [record.key for record in registry.records("models") if record.key in ("sick", "well")]
    assert keys == ["well"]
    assert len([w for w in caught if "sick" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "well" in [record.key for record in registry.records("models")]
    assert builtins.sick_imports == 1
    del builtins.sick_imports


def test_a_listing_takes_in_what_was_mended_since(site, registry):
    site.add("sick", keys=("kite",), source="import no_such_library_at_all")
    with pytest.warns(RuntimeWarning, match="no_such_library_at_all"):
        assert "kite" not in [record.key for record in registry.records("models")]
    site.add("library", module="no_such_library_at_all", source="x = 1")
    (site.root / "sick.py").write_text(site.models("kite") + "\nimport no_such_library_at_all\n")
    assert "kite" in [record.key for record in registry.records("models")]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("return [ModelSpec(key='other', config='a:B', tasks={})]", "no record with that key: its keys are `other`"),
        ("return [ModelSpec(key='kites', config='a:B', tasks={})]", "Did you mean `kites`"),
        ("return []", "its keys are none"),
        ("return None", "its keys are none"),
        ("return [ConfigSpec(key='kite', config='a:B')]", "must return records of the type `ModelSpec`"),
        ("return ModelSpec(key='kite', config='a:B', tasks={})", "must return a list of records"),
        ("return {'kite': 1}", "must return a list of records"),
        ("return 'kite'", "must return a list of records"),
        ("return 5", "must return a list of records"),
        (
            "return [ModelSpec(key='kite', config='a:B', tasks={}), ModelSpec(key='kite', config='c:D', tasks={})]",
            "two records with the key `kite`",
        ),
        ("return [ModelSpec(key='kite', config='not a reference', tasks={})]", "ValidationError"),
        ("raise KeyError('inside')", "KeyError: 'inside'"),
        ("yield ModelSpec(key='kite', config='a:B', tasks={}); raise KeyError('late')", "KeyError: 'late'"),
    ],
)
def test_a_hook_that_breaks_its_promise_is_told_so(site, registry, body, complaint):
    site.add("wrong", "0.3", keys=("kite",), source=IMPLEMENTED.format(body=body))
    with pytest.raises(PluginRecordError) as caught:
        registry.get("models", "kite")
    assert complaint in str(caught.value)
    assert "`wrong` 0.3" in str(caught.value)


def test_a_generator_of_records_is_fine(site, registry):
    site.add("lazy", keys=("kite",), source=IMPLEMENTED.format(body="yield ModelSpec(key='kite', config='a:B', tasks={})"))
    assert registry.get("models", "kite").key == "kite"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("def provide_models():\n    return []\n", "decorate it with `@hookimpl`"),
        ("x = 1\n", "implements no hook `provide_models`"),
        (
            "from transept_hookspecs import hookimpl\n@hookimpl\ndef provide_modles():\n    return []\n",
            "unknown hook 'provide_modles'",
        ),
        ("from transept_hookspecs import hookimpl\n@hookimpl\ndef provide_models(sky):\n    return []\n", "sky"),
        (
            "from transept_hookspecs import hookimpl\n@hookimpl(wrapper=True)\ndef provide_models():\n    return (yield)\n",
            "hook wrapper",
        ),
    ],
)
def test_a_module_that_breaks_the_hook_contract_is_refused_and_leaves_no_trace(site, registry, source, complaint):
    site.add("wrong", keys=("kite",), source=source)
    with pytest.raises(PluginRecordError) as caught:
        registry.get("models", "kite")
    assert complaint in str(caught.value)
    site.add("well", keys=("well",))
    assert registry.get("models", "well").key == "well"


def test_load_object_walks_to_nested_names():
    assert load_object("os.path:join", owner="x") is __import__("os").path.join
    assert load_object("collections:OrderedDict.fromkeys", owner="x")({1: 2}) == {1: None}
    assert load_object("json.decoder", owner="x") is sys.modules["json.decoder"]


def test_load_object_names_owner_cause_and_near_misses():
    with pytest.raises(PluginImportError) as caught:
        load_object("collections:OrderdDict", owner="`toy` 1.0")
    assert "`toy` 1.0" in str(caught.value)
    assert "Did you mean `OrderedDict`" in str(caught.value)
    with pytest.raises(PluginImportError, match="No module named 'no_such_module'") as caught:
        load_object("no_such_module:X", owner="`toy` 1.0")
    assert caught.value.owner == "`toy` 1.0"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
