"""Masked language modelling: how many tokens are chosen, what becomes of them, and that a seed says it all."""

import pickle
from itertools import pairwise

import pytest
import torch

from transept import DataCollatorForLanguageModeling, DataCollatorForWholeWordMask


@pytest.fixture
def many(peers_tokenizer):
    """A large batch of one text, with padding."""
    texts = ["unbelievable foxes jump quickly over the lazy dog and the other dogs", "a quick fox"] * 400
    return [dict(peers_tokenizer(text, return_offsets_mapping=True)) for text in texts]


def without(examples, name):
    return [{key: value for key, value in example.items() if key != name} for example in examples]


@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize(("probability", "mask", "random"), [(0.15, 0.8, 0.1), (0.4, 0.5, 0.3), (0.3, 0.0, 0.0)])
def test_shares(tokenizer, many, kind, probability, mask, random):
    settings = {"mlm_probability": probability, "mask_replace_prob": mask, "random_replace_prob": random}
    collator = DataCollatorForLanguageModeling(tokenizer, seed=0, return_tensors=kind, **settings)
    many = without(many, "offset_mapping")
    batch = {key: torch.as_tensor(value) for key, value in collator(many).items()}
    plain = {key: torch.as_tensor(value) for key, value in collator.tokenizer.pad(many, return_tensors="pt").items()}
    open_to_it = torch.tensor(
        [tokenizer.get_special_tokens_mask(row, already_has_special_tokens=True) for row in plain["input_ids"].tolist()]
    ).eq(0)
    chosen = batch["labels"] != -100
    assert not (chosen & ~open_to_it).any()
    assert torch.equal(batch["labels"][chosen], plain["input_ids"][chosen])
    assert torch.equal(batch["input_ids"][~chosen], plain["input_ids"][~chosen])
    assert abs(chosen[open_to_it].float().mean() - probability) < 0.02
    masked = batch["input_ids"][chosen] == tokenizer.mask_token_id
    changed = (batch["input_ids"][chosen] != plain["input_ids"][chosen]) & ~masked
    vocab = len(tokenizer)  # a random token may be the mask, or what stood there
    assert abs(masked.float().mean() - (mask + random / vocab)) < 0.03
    assert abs(changed.float().mean() - random * (vocab - 2) / vocab) < 0.03


@pytest.mark.parametrize("side", ["left", "right"])
def test_words_are_masked_whole(tokenizer, many, side):
    tokenizer.padding_side = side
    collator = DataCollatorForWholeWordMask(tokenizer, seed=1, mlm_probability=0.3)
    batch = collator(many[:40])
    chosen = batch["labels"] != -100
    assert torch.equal(batch["input_ids"][chosen], torch.full_like(batch["input_ids"][chosen], tokenizer.mask_token_id))
    shares = []
    for row, example in zip(chosen, many, strict=False):
        length = len(example["input_ids"])
        row = row[-length:] if side == "left" else row[:length]
        offsets = example["offset_mapping"]
        for (before, now), (left, right) in zip(pairwise(row[1:-1].tolist()), pairwise(offsets[1:-1]), strict=True):
            if left[1] == right[0]:  # of one word
                assert before == now
        shares.append(row[1:-1].float().mean())
    assert abs(torch.stack(shares).mean() - 0.3) < 0.08
    assert any(left[1] == right[0] for left, right in pairwise(many[0]["offset_mapping"][1:-1])), "a word of several tokens"


def test_the_same_seed_masks_alike_and_another_differs(tokenizer, many):
    many = without(many[:20], "offset_mapping")
    one, same, other = (DataCollatorForLanguageModeling(tokenizer, seed=seed) for seed in (5, 5, 6))
    first, second = one(many)["input_ids"], one(many)["input_ids"]
    assert not torch.equal(first, second), "each batch has masks of its own"
    assert torch.equal(first, same(many)["input_ids"])
    assert torch.equal(second, same(many)["input_ids"])
    assert not torch.equal(first, other(many)["input_ids"])
    assert torch.equal(pickle.loads(pickle.dumps(one))(many)["input_ids"], first)


def test_examples_stay_as_they_were(tokenizer, many):
    rows = [torch.tensor(example["input_ids"]) for example in many[:1]] * 3
    before = rows[0].clone()
    DataCollatorForLanguageModeling(tokenizer, mlm_probability=1.0)(rows)
    assert torch.equal(rows[0], before)


def test_each_worker_of_a_loader_masks_on_its_own(tokenizer, many):
    dataset = without(many[:1] * 8, "offset_mapping")
    settings = {"batch_size": 2, "collate_fn": DataCollatorForLanguageModeling(tokenizer, seed=2, mlm_probability=0.5)}
    settings["collate_fn"](dataset)  # what was drawn here before is nothing to the workers
    runs = [[batch["input_ids"] for batch in torch.utils.data.DataLoader(dataset, num_workers=2, **settings)] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert not torch.equal(runs[0][0], runs[0][1]), "batches of two workers"
    alone = DataCollatorForLanguageModeling(tokenizer, seed=2, mlm_probability=0.5)
    assert torch.equal(alone(dataset[:2])["input_ids"], runs[0][0])
