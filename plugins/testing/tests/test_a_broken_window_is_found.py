"""Windows that are not the configuration's, or that a mask and a cache understand otherwise, are found."""

import pytest
from transept_testing import SlidingWindowConformance
from transept_testing.models.suite import Case

modeling = pytest.importorskip("transept_mistral.modeling")
TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


class Windows(SlidingWindowConformance):
    model_type = "mistral"
    tiny = TINY
    change = staticmethod(lambda windows: windows)

    def model(self, case, **changes):
        model = super().model(case, **changes)
        model.model.layer_windows = self.change(model.model.layer_windows)
        return model


class Ignored(Windows):
    change = staticmethod(lambda windows: [None for _ in windows])


class OneTooMany(Windows):
    change = staticmethod(lambda windows: [window + 1 for window in windows])


def sound(case):
    return Windows().model(case), Windows().model(case)


@pytest.mark.parametrize("size", [2, 8])
def test_sound_windows_pass(size):
    case = Case("causal_lm", f"window of {size}")
    Windows().test_the_window_hides_what_the_peers_hides(case, sound)
    Windows().test_text_beyond_the_window_is_the_peers(case, "static", sound)
    for holds in ("every token", "room for every token", "the window"):
        Windows().test_any_cache_serves_the_window(case, holds, [5, 1, 3])


@pytest.mark.parametrize("kind", [Ignored, OneTooMany])
def test_other_windows_fail(kind):
    case = Case("causal_lm", "window of 4")
    kind.variants[case.variant] = {"sliding_window": 4}
    Windows.variants[case.variant] = {"sliding_window": 4}

    def pair(case):
        return kind().model(case), Windows().model(case)

    with pytest.raises(AssertionError, match="logits beside the peer's"):
        kind().test_the_window_hides_what_the_peers_hides(case, pair)
    with pytest.raises(AssertionError, match="text with a dynamic cache"):
        kind().test_text_beyond_the_window_is_the_peers(case, "dynamic", pair)
    with pytest.raises(AssertionError, match="with a cache of the window"):
        kind().test_any_cache_serves_the_window(case, "the window", [5, 1, 3])


def test_a_window_that_hides_nothing_fails_without_a_peer_too():
    case = Case("causal_lm", "window of 2")
    with pytest.raises(AssertionError, match="a window of 2 must hide some"):
        Ignored().test_the_window_hides_what_the_peers_hides(case, lambda case: (Ignored().model(case), Ignored().model(case)))
