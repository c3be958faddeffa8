import sys
import tomllib
from pathlib import Path

import pytest

from transept.discovery.known import EVENTS, KINDS, known_dist
from transept.errors import PluginError, PluginNotFoundError
from transept_hookspecs import EVENT_HOOKS, RECORD_KINDS, ModelSpec, hookimpl


def test_asking_for_one_imports_that_one_only(site, registry):
    for name in ("alpha", "beta", "gamma"):
        site.add(name, keys=(f"{name}_model",))
    record = registry.get("models", "beta_model")
    assert isinstance(record, ModelSpec)
    assert site.loaded() == {"beta"}
    assert registry.get("models", "beta_model") is record


def test_a_module_named_by_several_groups_is_imported_and_registered_once(site, registry):
    source = site.models("kite") + (
        "\nfrom transept_hookspecs import ConfigSpec\n"
        "@hookimpl\ndef provide_configs():\n    return [ConfigSpec(key='kite', config='a.b:C')]\n"
        "import builtins\nbuiltins.kite_imports = getattr(builtins, 'kite_imports', 0) + 1\n"
    )
    site.add("both", source=source, entry_points="[transept.models]\nkite = both\n[transept.configs]\nkite = both\n")
    import builtins

    builtins.kite_imports = 0
    assert registry.get("models", "kite").key == registry.get("configs", "kite").key == "kite"
    assert builtins.kite_imports == 1
    assert [name for name in registry._state.plugins if "both" in name] == ["both:both"]
    del builtins.kite_imports


def test_a_known_key_that_is_not_installed_names_the_dist(registry, site, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(site.root)])
    with pytest.raises(PluginNotFoundError) as caught:
        registry.get("models", "qwen3")
    assert str(caught.value).startswith(
        "No installed plugin provides model_type 'qwen3'. Install one: pip install transept-qwen3"
    )
    assert caught.value.kind == "models"
    assert registry.find("models", "qwen3") is None


@pytest.mark.parametrize(
    ("kind", "key", "dist"),
    [
        ("attention", "flex_attention", "transept-flex"),
        ("attention", "flash_attention_2", "transept-flash"),
        ("attention", "paged", "transept-paged"),
        ("caches", "quantized", "transept-quantized-cache"),
        ("caches", "offloaded", "transept-offloaded-cache"),
        ("caches", "sink", "transept-sink-cache"),
        ("caches", "paged", "transept-paged"),
    ],
)
def test_where_few_are_installed_they_are_named_beside_the_command(registry, site, monkeypatch, kind, key, dist):
    site.add("mine", keys=("plain",), kind=kind)
    monkeypatch.setattr(sys, "path", [str(site.root)])
    with pytest.raises(PluginNotFoundError, match=f"Install one: pip install {dist}. Installed: `plain`"):
        registry.get(kind, key)


def test_a_misspelt_key_gets_near_misses(registry, site):
    site.add("paper", keys=("paperkite",))
    with pytest.raises(PluginNotFoundError, match="Did you mean `paperkite`"):
        registry.get("models", "paper_kite")


def test_a_record_without_an_entry_point_is_told_to_its_author(registry, site):
    site.add("author", keys=("kite",), source=site.models("kite", "forgotten"))
    assert registry.get("models", "kite").key == "kite"
    with pytest.raises(PluginNotFoundError, match=r"`author` 1.0.*without an entry point: declare it in `transept.models`"):
        registry.get("models", "forgotten")


def test_a_strange_key_gets_the_list_of_what_is_there(registry, site):
    site.add("paper", keys=("paperkite",))
    with pytest.raises(PluginNotFoundError, match=r"Installed: .*`paperkite`"):
        registry.get("models", "zzzzzzzz")


class Offers:
    @hookimpl
    def provide_models(self):
        return [ModelSpec(key="own", config="a:B", tasks={})]


@pytest.mark.parametrize(
    "key", ["owner/repo", "os:system", "os.path:join", "../../x", "", " ", "\0", "x" * 100_000, None, 5, ["a"], {"a": 1}]
)
def test_a_key_from_a_config_file_is_only_ever_looked_up(registry, site, key):
    before = set(sys.modules)
    registry.register(Offers(), "offers")
    assert registry.find("models", key) is None
    with pytest.raises(PluginNotFoundError) as caught:
        registry.get("models", key)
    assert len(str(caught.value)) < 2000
    assert not {name for name in set(sys.modules) - before if not name.startswith(("transept", "difflib"))}


def test_an_unknown_kind_is_an_error_that_lists_the_kinds(registry):
    for ask in (registry.keys, registry.entries, registry.records, lambda kind: registry.find(kind, "x")):
        with pytest.raises(PluginError, match=r"`modles` is no kind of plugin. Did you mean `models`"):
            ask("modles")


def test_kinds_and_events_are_those_of_the_contract():
    assert {*RECORD_KINDS, "observers", "api"} == set(KINDS)
    assert set(EVENT_HOOKS) == EVENTS


def test_lookups_change_nothing(site, registry):
    site.add("alpha", keys=("kite",))
    first = registry.get("models", "kite")
    before = (registry.entries(), dict(registry._state.preferences), registry._state.registered)
    for _ in range(3):
        assert registry.find("models", "nothing") is None
        assert registry.get("models", "kite") is first
    assert (registry.entries(), dict(registry._state.preferences), registry._state.registered) == before


def test_records_lists_everything_that_loads_by_key(site, registry):
    site.add("two", keys=("b_two", "a_two"))
    site.add("one", keys=("one",))
    keys = [record.key for record in registry.records("caches")]
    assert keys == sorted(keys)
    assert {"dynamic", "static"} <= set(keys)


@pytest.mark.parametrize(
    ("name", "dist"),
    [
        ("BertModel", "transept-bert"),
        ("GPT2LMHeadModel", "transept-gpt2"),
        ("GPTNeoXForCausalLM", "transept-gpt-neox"),
        ("T5TokenizerFast", "transept-t5"),
        ("ViTImageProcessor", "transept-vit"),
        ("DistilBertForMaskedLM", "transept-distilbert"),
        ("WhisperProcessor", "transept-whisper"),
        ("Trainer", "transept-trainer"),
        ("DataCollatorWithPadding", "transept-data"),
        ("BitsAndBytesConfig", "transept-bitsandbytes"),
        ("Bertha", None),
        ("Bert", None),
        ("SomethingElse", None),
    ],
)
def test_well_known_class_names_lead_to_their_dist(name, dist):
    assert known_dist("api", name) == dist


def test_no_hint_sends_people_to_a_dist_outside_the_project():
    from transept.discovery import known

    dists = {known.known_dist(kind, key) for kind in KINDS for key in known.known_keys(kind)}
    assert all(dist.startswith("transept-") for dist in dists)
    table = tomllib.loads(Path(known.__file__).with_name("known.toml").read_text())
    assert set(table) <= set(KINDS)
