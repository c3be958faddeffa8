"""What a folder's files say counts, whatever their age; what is saved here opens in the peer, and the reverse."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transept_tokenizers.fast import PreTrainedTokenizerFast
from transept_tokenizers.tokenization import AddedToken

from transept.errors import ChatTemplateError, CorruptFileError, TokenizerError, UnknownArgumentError, UnsafePathError

TEXT = "The quick <s>fox</s> jumps <extra_0> 12 <image>  <tool>"


def flags(tokenizer: Any) -> dict[int, tuple[Any, ...]]:
    return {
        index: (token.content, token.lstrip, token.rstrip, token.single_word, token.normalized, token.special)
        for index, token in tokenizer.added_tokens_decoder.items()
    }


def rewrite(folder: Path, **files: Any) -> Path:
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


DECODER = {
    "1": {"content": "<s>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False, "special": True},
    "700": {"content": "<tool>", "lstrip": False, "rstrip": True, "normalized": True, "single_word": False, "special": False},
}
OLD_MAP = {
    "bos_token": {"content": "<s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False},
    "eos_token": "</s>",
    "pad_token": "<im_pad>",
    "additional_special_tokens": ["<extra_0>", {"content": "<x>", "lstrip": True, "normalized": False}],
}


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({"added_tokens_decoder": DECODER}, {}),
        ({"added_tokens_decoder": DECODER}, {"special_tokens_map": {"eos_token": "<ignored>"}}),
        ({}, {"special_tokens_map": OLD_MAP}),
        ({}, {"added_tokens": {"<tool>": 500, "<s>": 1, "<extra_0>": 501}, "special_tokens_map": OLD_MAP}),
        ({"image_token": "<image>", "extra_special_tokens": {"video_token": "<video>"}}, {}),
        (
            {"eos_token": {"__type": "AddedToken", "content": "<eot>", "lstrip": False, "normalized": False, "special": True}},
            {},
        ),
        ({"extra_special_tokens": None, "additional_special_tokens": ["<tool>"], "model_max_length": 7}, {}),
        ({"add_bos_token": True, "add_eos_token": True, "add_prefix_space": True, "do_lower_case": True}, {}),
        ({"tokenizer_file": "/etc/passwd", "vocab_file": "../x", "name_or_path": "elsewhere", "backend": "tokenizers"}, {}),
        ({"clean_up_tokenization_spaces": True, "split_special_tokens": True}, {}),
    ],
)
def test_old_and_new_settings_equal_the_peers(
    make_folder: Callable[..., Path], open_peer: Callable[..., Any], settings: dict[str, Any], files: dict[str, Any]
) -> None:
    folder = rewrite(make_folder("byte_bpe", **settings), **files)
    ours, theirs = PreTrainedTokenizerFast.from_pretrained(folder), open_peer(folder)
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.all_special_tokens == theirs.all_special_tokens
    assert ours.all_special_ids == theirs.all_special_ids
    assert ours.extra_special_tokens == theirs.extra_special_tokens
    assert flags(ours) == flags(theirs)
    assert ours.model_max_length == theirs.model_max_length
    assert dict(ours(TEXT, verbose=False)) == dict(theirs(TEXT))
    assert ours.decode(ours(TEXT, verbose=False)["input_ids"]) == theirs.decode(theirs(TEXT)["input_ids"])


def test_both_ways(folder: Path, open_peer: Callable[..., Any], tmp_path: Path, nasty: list[str]) -> None:
    ours = PreTrainedTokenizerFast.from_pretrained(folder, mask_token="<mask>", chat_template={"default": "D", "rag": "R"})
    ours.add_tokens([AddedToken("<tool>", lstrip=True), "plain"])
    ours.add_special_tokens({"additional_special_tokens": ["<image>"]}, replace_extra_special_tokens=False)
    saved = ours.save_pretrained(tmp_path / "ours")
    assert {Path(name).name for name in saved} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "rag.jinja",
    }
    theirs = open_peer(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path / "theirs")
    for other in (theirs, again, PreTrainedTokenizerFast.from_pretrained(tmp_path / "ours")):
        assert flags(other) == flags(ours)
        assert other.special_tokens_map == ours.special_tokens_map
        assert other.all_special_tokens == ours.all_special_tokens
        assert other.chat_template == ours.chat_template
        for name in ("padding_side", "truncation_side", "model_max_length", "model_input_names", "pad_token_type_id"):
            assert getattr(other, name) == getattr(ours, name)
        for text in [*nasty, TEXT]:
            assert dict(other(text, verbose=False)) == dict(ours(text, verbose=False))


def test_the_peers_auto_class_opens_what_is_saved(smollm2: Path, tmp_path: Path, nasty: list[str]) -> None:
    transformers = pytest.importorskip("transformers")
    ours = PreTrainedTokenizerFast.from_pretrained(smollm2)
    ours.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": len(ours)}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in nasty:
        assert dict(theirs(text)) == dict(ours(text))
    assert theirs.chat_template == ours.chat_template


def test_settings_without_a_meaning_are_kept(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder("byte_bpe", legacy=False, spaces=[1, {"a": None}], errors="replace")
    PreTrainedTokenizerFast.from_pretrained(folder).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (saved["legacy"], saved["spaces"], saved["errors"]) == (False, [1, {"a": None}], "replace")


def test_truncation_and_padding_inside_the_file_are_kept(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder("word_piece")
    ours = PreTrainedTokenizerFast.from_pretrained(folder)
    assert len(ours("word " * 50)["input_ids"]) > 50
    ours.save_pretrained(tmp_path)
    before, after = (json.loads((each / "tokenizer.json").read_text()) for each in (folder, tmp_path))
    assert after == before


def test_saving_over_an_older_save_leaves_nothing_of_it(make_folder: Callable[..., Path]) -> None:
    folder = rewrite(make_folder("byte_bpe"), special_tokens_map=OLD_MAP, added_tokens={"<s>": 1})
    (folder / "chat_template.jinja").write_text("old")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "gone.jinja").write_text("old")
    ours = PreTrainedTokenizerFast.from_pretrained(folder)
    assert ours.chat_template == {"default": "old", "gone": "old"}
    ours.pad_token, ours.chat_template = "</s>", {"rag": "new"}
    ours.save_pretrained(folder)
    again = PreTrainedTokenizerFast.from_pretrained(folder)
    assert again.pad_token == "</s>"
    assert again.chat_template == {"rag": "new"}
    again.chat_template = None
    again.save_pretrained(folder)
    assert PreTrainedTokenizerFast.from_pretrained(folder).chat_template is None


def test_templates_in_the_config_and_in_files(make_folder: Callable[..., Path]) -> None:
    assert PreTrainedTokenizerFast.from_pretrained(make_folder(chat_template="one")).chat_template == "one"
    several = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]
    folder = make_folder(chat_template=several)
    assert PreTrainedTokenizerFast.from_pretrained(folder).chat_template == {"default": "D", "tool_use": "T"}
    (folder / "chat_template.jinja").write_text("file 🙂\r\n", encoding="utf-8", newline="")
    assert PreTrainedTokenizerFast.from_pretrained(folder).chat_template == "file 🙂\r\n".replace("\r\n", "\n")
    with pytest.raises(TokenizerError, match="chat_template"):
        PreTrainedTokenizerFast.from_pretrained(make_folder(chat_template=[{"name": 1}]))


def test_names_of_templates_do_not_lead_out_of_the_folder(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("../evil", "a/b", "/abs", "", "a\\b", "nul\0"):
        folder = make_folder(chat_template=[{"name": "default", "template": "D"}, {"name": name, "template": "T"}])
        ours = PreTrainedTokenizerFast.from_pretrained(folder)
        target = tmp_path / "deep" / "save"
        with pytest.raises((TokenizerError, UnsafePathError)):
            ours.save_pretrained(target)
        written = [path for path in tmp_path.rglob("*.jinja") if path.read_text() == "T"]
        assert written == []
    folder = make_folder()
    os.symlink("/etc/hostname", folder / "chat_template.jinja")
    with pytest.raises(UnsafePathError):
        PreTrainedTokenizerFast.from_pretrained(folder)


def test_damaged_files(make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    whole = (folder / "tokenizer.json").read_bytes()
    for damaged in (
        b"",
        b"{",
        whole[: len(whole) // 2],
        whole.replace(b'"BPE"', b'"XXX"'),
        b"\xff" * 100,
        b"[]",
        b'{"model":3}',
    ):
        (folder / "tokenizer.json").write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=r"tokenizer\.json"):
            PreTrainedTokenizerFast.from_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match=r"has no `tokenizer\.json`.*Save the tokenizer there with `save_pretrained`"):
        PreTrainedTokenizerFast.from_pretrained(folder)
    for text in ("[]", "{", '{"a": 1, "a": 2}'):
        folder = make_folder()
        (folder / "tokenizer_config.json").write_text(text)
        with pytest.raises(CorruptFileError, match="tokenizer_config"):
            PreTrainedTokenizerFast.from_pretrained(folder)
    for settings in (
        {"eos_token": 3},
        {"added_tokens_decoder": {"x": "y"}},
        {"padding_side": "up"},
        {"extra_special_tokens": "x"},
    ):
        with pytest.raises(TokenizerError):
            PreTrainedTokenizerFast.from_pretrained(make_folder(**settings))


def test_keywords_go_before_files_and_unknown_ones_are_refused(make_folder: Callable[..., Path]) -> None:
    folder = make_folder("byte_bpe")
    ours = PreTrainedTokenizerFast.from_pretrained(
        folder, pad_token="</s>", padding_side="left", model_max_length=5, bos_token=None
    )
    assert (ours.pad_token, ours.padding_side, ours.model_max_length, ours.bos_token) == ("</s>", "left", 5, None)
    with pytest.raises(UnknownArgumentError, match="`padding_side`"):
        PreTrainedTokenizerFast.from_pretrained(folder, paddingside="left")
    with pytest.raises(UnknownArgumentError, match="`padding_side`"):
        PreTrainedTokenizerFast(tokenizer_file=folder / "tokenizer.json", padding_sid="left")
    with pytest.raises(UnknownArgumentError, match="`truncation`"):
        ours("a", truncate=True)
    with pytest.warns(UserWarning, match="never run"):
        PreTrainedTokenizerFast.from_pretrained(folder, trust_remote_code=True)


def test_bos_and_eos_by_keyword(make_folder: Callable[..., Path], open_peer: Callable[..., Any]) -> None:
    folder = make_folder("metaspace_bpe")
    for options in ({"add_bos_token": True, "add_eos_token": True}, {"add_bos_token": False}, {"add_bos_token": True}):
        ours, theirs = PreTrainedTokenizerFast.from_pretrained(folder, **options), open_peer(folder, **options)
        for texts in (("a b",), ("a", "b")):
            assert dict(ours(*texts, return_token_type_ids=True)) == dict(theirs(*texts, return_token_type_ids=True))
    ours = PreTrainedTokenizerFast.from_pretrained(folder)
    assert (ours.add_bos_token, ours.add_eos_token) == (True, False)
    ours.add_eos_token = True
    assert ours.tokenize("a", add_special_tokens=True)[0] == "<s>"
    assert ours.tokenize("a", add_special_tokens=True)[-1] == "</s>"
    ours.eos_token = None
    with pytest.raises(TokenizerError, match="add_eos_token"):
        ours.add_eos_token = True


def test_special_tokens_around_ids(make_folder: Callable[..., Path]) -> None:
    for kind in ("word_piece", "metaspace_bpe", "byte_bpe"):
        ours = PreTrainedTokenizerFast.from_pretrained(make_folder(kind))
        first, second = (ours(text, add_special_tokens=False)["input_ids"] for text in ("the fox", "a dog is"))
        for pair in ((first, None), (first, second)):
            texts = ("the fox",) if pair[1] is None else ("the fox", "a dog is")
            whole = ours(*texts, return_token_type_ids=True, return_special_tokens_mask=True)
            assert ours.build_inputs_with_special_tokens(*pair) == whole["input_ids"]
            assert ours.create_token_type_ids_from_sequences(*pair) == whole["token_type_ids"]
            assert ours.get_special_tokens_mask(*pair) == whole["special_tokens_mask"]
        assert ours.get_special_tokens_mask(whole["input_ids"], already_has_special_tokens=True) == whole["special_tokens_mask"]


def test_several_files_for_formats(make_folder: Callable[..., Path]) -> None:
    folder = make_folder(
        "byte_bpe", fast_tokenizer_files=["tokenizer.json", "tokenizer.4.10.0.json", "tokenizer.4.9.json", "../x"]
    )
    (folder / "tokenizer.4.10.0.json").write_bytes((make_folder("word_piece") / "tokenizer.json").read_bytes())
    assert type(PreTrainedTokenizerFast.from_pretrained(folder).backend_tokenizer.model).__name__ == "WordPiece"


def test_found_by_the_registry(make_folder: Callable[..., Path]) -> None:
    from transept.discovery import load_object, registry

    for key in ("PreTrainedTokenizerFast", "TokenizersBackend"):
        spec = registry.get("tokenizers", key)
        assert load_object(spec.tokenizer, owner="test") is PreTrainedTokenizerFast
        assert spec.files == ("tokenizer.json",)
    assert ChatTemplateError.__mro__[1] is TokenizerError
