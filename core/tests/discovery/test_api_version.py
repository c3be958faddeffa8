import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from transept.discovery.versions import satisfies, version_key
from transept.errors import PluginVersionError

numbers = st.integers(0, 3)
releases = st.lists(numbers, min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
tails = st.sampled_from(
    [
        "",
        "",
        "",
        "a1",
        "b2",
        "rc1",
        ".post1",
        ".dev0",
        "rc1.post2",
        "a1.dev3",
        ".post1.dev2",
        "-1",
        "+local.1",
        "-rc.2",
        "_beta3",
    ]
)
versions = st.tuples(st.sampled_from(["", "", "", "1!", "v"]), releases, tails).map("".join)
clauses = st.one_of(
    st.tuples(st.sampled_from([">=", "<=", "<", ">", "==", "!=", "~="]), versions).map("".join),
    st.tuples(st.sampled_from(["==", "!="]), releases, st.just(".*")).map("".join),
)


@settings(max_examples=400, deadline=None)
@given(versions, clauses)
def test_clauses_are_judged_as_packaging_judges_them(version, clause):
    try:
        expected = SpecifierSet(clause).contains(version, prereleases=True)
    except InvalidSpecifier:
        return
    assert satisfies(version, clause) == expected


@settings(max_examples=200, deadline=None)
@given(versions, versions)
def test_versions_sort_as_packaging_sorts_them(a, b):
    public = [Version(Version(text).public) for text in (a, b)]
    assert (version_key(a) < version_key(b)) == (public[0] < public[1])


@pytest.mark.parametrize("text", ["", "latest", "1.x", "1..2", "1.0-final-cut", "…"])
def test_what_is_no_version_satisfies_nothing_and_sorts_first(text):
    assert version_key(text) < version_key("0")
    assert not satisfies(text, ">=0")


@settings(deadline=None)
@given(st.text(), st.text())
def test_no_text_breaks_the_comparison(version, clause):
    assert satisfies(version, clause) in (True, False)


def test_a_plugin_for_a_newer_api_is_refused_before_it_is_imported(site, registry):
    site.add("ahead", "2.0", keys=("kite",), requires=("transept-hookspecs>=99.2,<100",))
    with pytest.raises(PluginVersionError) as caught:
        registry.get("models", "kite")
    message = str(caught.value)
    assert "`ahead` 2.0 needs transept-hookspecs >=99.2,<100, and this is 1." in message
    assert message.endswith('pip install --upgrade transept "transept-hookspecs>=99.2,<100"')
    assert not site.loaded()


def test_a_plugin_for_an_older_api_is_what_gets_upgraded(site, registry):
    site.add("behind", keys=("kite",), requires=("other", "transept_hookspecs (<1,>=0.3)"))
    with pytest.raises(PluginVersionError, match=r"pip install --upgrade behind$"):
        registry.get("models", "kite")
    assert not site.loaded()


@pytest.mark.parametrize(
    "requirement",
    [
        "transept-hookspecs",
        "Transept.Hookspecs[x] >= 1 , < 2",
        "transept-hookspecs @ file:///somewhere",
        'transept-hookspecs>=99; extra == "future"',
        "transept-hookspecs-extras>=99",
        "other>=99",
    ],
)
def test_requirements_that_do_not_refuse(site, registry, requirement):
    site.add("fine", keys=("kite",), requires=(requirement,))
    assert registry.get("models", "kite").key == "kite"


def test_public_names_are_checked_as_well(site, registry):
    site.add("ahead", entry_points="[transept.api]\nKiteModel = ahead:KiteModel\n", requires=("transept-hookspecs>=99",))
    with pytest.raises(PluginVersionError):
        registry.public_name("KiteModel")
    assert not site.loaded()


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\0garbage"])
def test_a_dist_whose_metadata_cannot_be_read_is_refused_when_it_is_asked_for(site, registry, content):
    info = site.add("torn", keys=("kite",))
    (info / "METADATA").unlink()
    if content is not None:
        (info / "METADATA").write_bytes(content)
    assert registry.dist_of("models", "kite") == ("torn", "1.0")
    with pytest.raises(PluginVersionError, match=r"cannot be read.*pip install --force-reinstall torn"):
        registry.get("models", "kite")
    assert not site.loaded()
