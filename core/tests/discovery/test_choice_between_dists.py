import os

import pytest

from transept.errors import DuplicatePluginError, PluginBlockedError, PluginError, PluginNotFoundError


@pytest.fixture
def rivals(site):
    site.add("rival-one", "1.5", keys=("kite",))
    site.add("Rival_Two", "2.5", keys=("kite",), module="rival_two")
    return site


def test_two_dists_with_one_key_are_refused_with_both_names_and_the_way_out(rivals, registry):
    for ask in (registry.get, registry.find, registry.dist_of):
        with pytest.raises(DuplicatePluginError) as caught:
            ask("models", "kite")
        message = str(caught.value)
        assert "`rival-one` 1.5" in message
        assert "`rival-two` 2.5" in message
        assert "TRANSEPT_PREFER=models:kite=rival-" in message
        assert "registry.prefer('models', 'kite', 'rival-" in message
    assert not rivals.loaded()


@pytest.mark.parametrize("spelling", ["rival-two", "RIVAL_two", "Rival.Two"])
def test_the_environment_chooses(rivals, registry, monkeypatch, spelling):
    monkeypatch.setenv("TRANSEPT_PREFER", f"attention:sdpa=other, models:kite={spelling}")
    assert registry.dist_of("models", "kite") == ("rival-two", "2.5")
    registry.get("models", "kite")
    assert rivals.loaded() == {"rival_two"}


def test_prefer_stands_above_the_environment_and_can_be_taken_back(rivals, registry, monkeypatch):
    monkeypatch.setenv("TRANSEPT_PREFER", "models:kite=rival-two")
    registry.prefer("models", "kite", "Rival_One")
    assert registry.dist_of("models", "kite")[0] == "rival-one"
    registry.prefer("models", "kite", None)
    assert registry.dist_of("models", "kite")[0] == "rival-two"


def test_a_listing_follows_what_is_preferred_now(rivals, registry, monkeypatch):
    (rivals.root / "rival_two.py").write_text("raise OSError('sick')")
    os.utime(rivals.root, (1_000_000, 1_000_000))  # or the index is read anew, and what was broken tried again
    with pytest.warns(RuntimeWarning, match="`rival-one`"):
        assert "kite" not in [record.key for record in registry.records("models")]
    registry.prefer("models", "kite", "rival-one")
    assert "kite" in [record.key for record in registry.records("models")]
    registry.prefer("models", "kite", "rival-two")
    with pytest.warns(RuntimeWarning, match="sick"):
        assert "kite" not in [record.key for record in registry.records("models")]
    monkeypatch.setenv("TRANSEPT_PREFER", "models:kite=rival-one")
    assert "kite" not in [record.key for record in registry.records("models")]
    registry.prefer("models", "kite", None)
    assert "kite" in [record.key for record in registry.records("models")]


def test_preferring_a_dist_that_does_not_offer_the_key_is_an_error(rivals, registry, monkeypatch):
    with pytest.raises(PluginError, match=r"`nobody` is preferred.*does not offer it"):
        registry.prefer("models", "kite", "nobody")
    with pytest.raises(PluginNotFoundError):
        registry.prefer("models", "no_such_key", "rival-one")
    monkeypatch.setenv("TRANSEPT_PREFER", "models:kite=nobody")
    with pytest.raises(PluginError, match="`nobody` is preferred"):
        registry.get("models", "kite")


@pytest.mark.parametrize("text", ["kite=rival-one", "models:kite", "models:=x", "modles:kite=rival-one", "="])
def test_a_preference_that_cannot_be_read_is_an_error(rivals, registry, monkeypatch, text):
    monkeypatch.setenv("TRANSEPT_PREFER", text)
    with pytest.raises(PluginError, match="TRANSEPT_PREFER"):
        registry.get("models", "kite")


def test_the_allow_list_settles_a_duplicate_as_well(rivals, registry, monkeypatch):
    monkeypatch.setenv("TRANSEPT_PLUGINS", "rival_one")
    assert registry.dist_of("models", "kite")[0] == "rival-one"


def test_what_is_not_allowed_is_refused_by_name(rivals, registry, monkeypatch):
    rivals.add("third", keys=("plane",))
    monkeypatch.setenv("TRANSEPT_PLUGINS", "rival-one")
    for ask in (registry.get, registry.find):
        with pytest.raises(
            PluginBlockedError, match=r"`third` 1.0 provides model_type 'plane', and `TRANSEPT_PLUGINS=rival-one`"
        ):
            ask("models", "plane")
    assert "plane" not in registry.keys("models")
    assert "plane" in {entry.key for entry in registry.entries("models")}
    assert not rivals.loaded()


def test_a_preferred_dist_that_is_not_allowed_is_refused(rivals, registry, monkeypatch):
    monkeypatch.setenv("TRANSEPT_PLUGINS", "rival-one")
    monkeypatch.setenv("TRANSEPT_PREFER", "models:kite=rival-two")
    with pytest.raises(PluginBlockedError, match="rival-two"):
        registry.get("models", "kite")


def test_none_leaves_the_core_alone(rivals, registry, monkeypatch):
    monkeypatch.setenv("TRANSEPT_PLUGINS", "none")
    assert registry.get("caches", "dynamic").key == "dynamic"
    assert registry.keys("models") == []
    assert {registry.dist_of("attention", key)[0] for key in registry.keys("attention")} == {"transept"}


def test_an_allowed_name_that_is_not_installed_is_an_error_at_once(rivals, registry, monkeypatch):
    monkeypatch.setenv("TRANSEPT_PLUGINS", "rival-one,rival-tow")
    for ask in (lambda: registry.get("caches", "dynamic"), lambda: registry.keys("models"), lambda: registry.records("caches")):
        with pytest.raises(PluginError) as caught:
            ask()
        assert "`rival-tow`" in str(caught.value)
        assert "Did you mean `rival-two`" in str(caught.value)
        assert str(rivals.root) in str(caught.value)


def test_an_empty_allow_list_allows_all(rivals, registry, monkeypatch):
    monkeypatch.setenv("TRANSEPT_PLUGINS", "")
    assert "kite" in registry.keys("models")


def test_status_tells_how_each_offer_stands(rivals, registry, monkeypatch):
    rivals.add("fine", keys=("plane",))
    rivals.add("bad", keys=("bad",), source="raise OSError('sick')")
    rivals.add("ahead", keys=("ahead",), requires=("transept-hookspecs>=99",))
    rivals.add("named", entry_points="[transept.api]\nKiteModel = nowhere:KiteModel\n")

    def standing():
        return {(e.key, e.dist): registry.status(e)[0] for e in registry.entries() if e.path.startswith(str(rivals.root))}

    assert standing() == {
        ("kite", "rival-one"): "duplicate",
        ("kite", "rival-two"): "duplicate",
        ("plane", "fine"): "ok",
        ("bad", "bad"): "broken",
        ("ahead", "ahead"): "incompatible",
        ("KiteModel", "named"): "unloaded",
    }
    registry.prefer("models", "kite", "rival-two")
    assert standing()["kite", "rival-one"] == "unused"
    assert standing()["kite", "rival-two"] == "ok"
    monkeypatch.setenv("TRANSEPT_PLUGINS", "fine")
    assert standing()["bad", "bad"] == "blocked"
    assert standing()["plane", "fine"] == "ok"


def test_status_carries_the_error(site, registry):
    site.add("bad", keys=("bad",), source="raise OSError('sick')")
    entry = next(entry for entry in registry.entries("models") if entry.key == "bad")
    status, error = registry.status(entry)
    assert status == "broken"
    assert "sick" in str(error)
