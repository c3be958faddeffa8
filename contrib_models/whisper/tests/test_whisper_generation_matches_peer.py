"""What a Whisper of random weights says is what the peer's says, token for token, however it is asked."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from transept_testing.filling import fill
from transept_whisper.configuration import WhisperConfig
from transept_whisper.modeling import WhisperForConditionalGeneration
from transept_whisper.timestamps import WhisperTimeStampLogitsProcessor

from transept.errors import GenerationError, InputError, TranseptError, UnknownArgumentError

TINY = {
    "vocab_size": 111,
    "num_mel_bins": 6,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 56,
    "max_source_positions": 20,
    "max_target_positions": 48,
    "decoder_start_token_id": 80,
    "pad_token_id": 79,
    "bos_token_id": 79,
    "eos_token_id": 79,
    "suppress_tokens": [3, 7, 80],
    "begin_suppress_tokens": [5, 79],
    "tie_word_embeddings": False,  # else each token is the likeliest to follow itself
}
WINDOW = 2 * TINY["max_source_positions"]
STATED = {
    "no_timestamps_token_id": 89,
    "prev_sot_token_id": 88,
    "is_multilingual": True,
    "lang_to_id": {"<|en|>": 81, "<|fr|>": 82, "<|de|>": 83},
    "task_to_id": {"transcribe": 84, "translate": 85},
    "max_length": 48,
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Any, Any]:
    transformers = pytest.importorskip("transformers")
    ours = WhisperForConditionalGeneration(WhisperConfig(**TINY)).eval()
    fill(ours)
    with torch.no_grad():  # what is said has to depend on what is heard
        for layer in ours.model.decoder.layers:
            layer.encoder_attn.out_proj.weight.mul_(3)
    for name, value in STATED.items():
        setattr(ours.generation_config, name, value)
    ours.generation_config._from_model_config = False  # the peer makes such a one anew
    folder = tmp_path_factory.mktemp("whisper")
    ours.save_pretrained(folder)
    peer = transformers.WhisperForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    return WhisperForConditionalGeneration.from_pretrained(folder), peer


def sound(frames: int = WINDOW, batch: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, TINY["num_mel_bins"], frames, generator=generator)


def both(pair: tuple[Any, Any], *args: Any, **asked: Any) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pair[0].generate(*args, **copy.deepcopy(asked)), pair[1].generate(*args, **copy.deepcopy(asked))


ASKED = {
    "plainly": {},
    "with timestamps": {"return_timestamps": True},
    "in French": {"language": "french"},
    "in two languages": {"language": ["<|en|>", "de"], "return_timestamps": True},
    "translated": {"task": "translate"},
    "translated from German": {"task": "translate", "language": "de", "return_timestamps": True},
    "shortly": {"max_new_tokens": 5},
    "with beams": {"num_beams": 3, "language": "en"},
    "with beams and timestamps": {"num_beams": 2, "return_timestamps": True},
    "after a prompt": {"prompt_ids": torch.tensor([88, 11, 12, 13]), "language": "en"},
    "with other tokens suppressed": {"suppress_tokens": list(range(20)), "begin_suppress_tokens": [22]},
    "with a penalty": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "return_timestamps": True},
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ASKED)
def test_a_window_is_the_peers(pair, name, seed) -> None:
    ours, theirs = both(pair, sound(seed=seed), **ASKED[name])
    assert ours.tolist() == theirs.tolist()
    assert len(set(ours.flatten().tolist())) > 5


LONG = {
    "one recording": (1, {}),
    "two recordings": (2, {}),
    "following what was said": (1, {"condition_on_prev_tokens": True}),
    "two, following what was said": (2, {"condition_on_prev_tokens": True, "language": "en"}),
    "after a prompt": (1, {"prompt_ids": torch.tensor([88, 11, 12])}),
    "after a prompt, following": (1, {"prompt_ids": torch.tensor([88, 11, 12]), "condition_on_prev_tokens": True}),
    "a prompt for all": (
        1,
        {
            "prompt_ids": torch.tensor([88, 11]),
            "condition_on_prev_tokens": True,
            "prompt_condition_type": "all-segments",
        },
    ),
    "held to thresholds": (2, {"temperature": 0.0, "compression_ratio_threshold": 1.2, "logprob_threshold": -2.0}),
    "silence left out": (1, {"temperature": 0.0, "logprob_threshold": -0.5, "no_speech_threshold": 0.001}),
}


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("name", LONG)
def test_long_recordings_are_the_peers(pair, name, seed) -> None:
    batch, asked = LONG[name]
    frames = 130
    mask = torch.ones(batch, frames, dtype=torch.long)
    mask[-1, 100:] = batch == 1
    asked = {**asked, "attention_mask": mask, "max_length": 48, "return_segments": True}
    ours, theirs = both(pair, sound(frames, batch, seed), **asked)
    assert ours["sequences"].tolist() == theirs["sequences"].long().tolist()
    for mine, other in zip(ours["segments"], theirs["segments"], strict=True):
        assert [segment["tokens"].tolist() for segment in mine] == [segment["tokens"].tolist() for segment in other]
        for name_of in ("start", "end"):
            assert [one[name_of] for one in mine] == pytest.approx([float(one[name_of]) for one in other])


def test_the_whole_output_of_a_window_is_the_peers(pair) -> None:
    asked = {"return_dict_in_generate": True, "output_scores": True, "language": "en", "max_new_tokens": 6}
    ours, theirs = both(pair, sound(), **asked)
    assert ours.sequences.tolist() == theirs.sequences.tolist()
    assert ours.sequences[0, :4].tolist() == [80, 81, 84, 89]
    for mine, other in zip(ours.scores, theirs.scores, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_languages_are_detected_as_the_peer_does(pair) -> None:
    features = sound(batch=6)
    assert pair[0].detect_language(features).tolist() == pair[1].detect_language(features).tolist()
    assert len(set(pair[0].detect_language(features).tolist())) > 1


def test_old_forced_tokens_are_followed(pair) -> None:
    models = [copy.deepcopy(model) for model in pair]
    for model in models:
        model.generation_config.forced_decoder_ids = [[1, None], [2, 84]]
    ours, theirs = both(tuple(models), sound(), return_dict_in_generate=True, max_new_tokens=4)
    assert ours.sequences.tolist() == theirs.sequences.tolist()
    assert ours.sequences[0, 2].item() == 84
    models[0].generation_config.forced_decoder_ids = [[2, 84]]
    with pytest.raises(GenerationError, match="count from 1"):
        models[0].generate(sound())


@pytest.mark.parametrize("detect", [True, False])
def test_the_rules_of_timestamps_are_the_peers(pair, detect) -> None:
    peers = pytest.importorskip("transformers").WhisperTimeStampLogitsProcessor
    generator = torch.Generator().manual_seed(1)
    config = copy.deepcopy(pair[0].generation_config)
    for first in (None, 3):
        config.max_initial_timestamp_index = first
        for begin in (2, 4):
            mine = WhisperTimeStampLogitsProcessor(config, begin, detect)
            theirs = peers(config, begin, detect)
            for length in range(begin, begin + 7):
                ids = torch.randint(60, 111, (40, length), generator=generator)
                scores = 3 * torch.randn(40, 111, generator=generator)
                torch.testing.assert_close(mine(ids, scores), theirs(ids, scores), atol=0, rtol=0)


def test_encoder_outputs_in_place_of_features(pair) -> None:
    features = sound()
    asked = {"language": "en", "suppress_tokens": list(range(90, 111))}  # timestamps would ask for a second window
    expected = pair[0].generate(features, **asked)
    given = pair[0].get_encoder()(features)
    assert pair[0].generate(encoder_outputs=given, **asked).tolist() == expected.tolist()
    assert pair[0].generate(encoder_outputs=given.last_hidden_state, **asked).tolist() == expected.tolist()
    assert pair[0].generate(inputs=features, **asked).tolist() == expected.tolist()


def test_hot_texts_are_drawn_and_reproducible(pair) -> None:
    features = sound(batch=1)
    torch.manual_seed(0)
    first = pair[0].generate(features, temperature=1.5, language="en")
    torch.manual_seed(0)
    assert pair[0].generate(features, temperature=1.5, language="en").tolist() == first.tolist()
    torch.manual_seed(1)
    assert pair[0].generate(features, temperature=1.5, language="en").tolist() != first.tolist()
    several = pair[0].generate(features, temperature=1.5, language="en", num_return_sequences=3)
    assert several.shape[0] == 3


def test_a_text_that_falls_short_is_tried_again_hotter(pair) -> None:
    torch.manual_seed(0)
    cold = pair[0].generate(sound(batch=1), language="en", temperature=0.0)
    hot = pair[0].generate(sound(batch=1), language="en", temperature=(0.0, 1.4), logprob_threshold=0.0)
    assert hot.tolist() != cold.tolist()
    kept = pair[0].generate(sound(batch=1), language="en", temperature=(0.0, 1.4), logprob_threshold=-99.0)
    assert kept.tolist() == cold.tolist()


def test_progress_is_told(pair) -> None:
    heard = []
    pair[0].generate(sound(130, 1), monitor_progress=lambda done: heard.append(done.tolist()), language="en")
    assert heard[0] == [[0, 130]]
    assert [row[0][0] for row in heard] == sorted({row[0][0] for row in heard})


@pytest.mark.parametrize(
    ("features", "asked", "said"),
    [
        (sound(), {"language": "klingon"}, "klingon"),
        (sound(), {"language": "spanish"}, "no token for the language"),
        (sound(), {"language": ["en"]}, "one for each"),
        (sound(), {"task": "sing"}, "transcribe"),
        (sound(), {"is_multilingual": False, "language": "en"}, "English alone"),
        (sound(), {"max_new_tokens": 99}, "shorten"),
        (sound(), {"return_token_timestamps": True}, "return_timestamps=True"),
        (sound(), {"no_speech_threshold": 0.5}, "logprob_threshold"),
        (sound(), {"prompt_condition_type": "all"}, "first-segment"),
        (sound(), {"prompt_condition_type": "all-segments"}, "condition_on_prev_tokens"),
        (sound(), {"langauge": "en"}, "langauge"),
        (None, {}, "input_features"),
        (sound()[0], {}, "floats"),
        (sound().long(), {}, "floats"),
        (sound()[:, :5], {}, "mel bins"),
        (sound(0), {}, "mel bins"),
        (sound(130), {"return_timestamps": False}, "return_timestamps=True"),
        (sound(130), {"language": "en"}, "attention_mask"),
        (sound(130), {"language": "en", "attention_mask": torch.ones(2, 7)}, "attention_mask"),
    ],
)
def test_what_does_not_fit_is_refused(pair, features, asked, said) -> None:
    with pytest.raises(TranseptError, match=said) as caught:
        pair[0].generate(features, **asked)
    assert isinstance(caught.value, GenerationError | InputError | UnknownArgumentError)


def test_timestamps_need_to_be_known(pair) -> None:
    model = copy.deepcopy(pair[0])
    del model.generation_config.no_timestamps_token_id
    with pytest.raises(GenerationError, match="no_timestamps_token_id"):
        model.generate(sound(), return_timestamps=True)
