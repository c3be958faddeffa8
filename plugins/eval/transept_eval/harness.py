"""The model class that EleutherAI's lm-eval is given (https://github.com/EleutherAI/lm-evaluation-harness).

lm-eval's own class for local models scores and generates with any object that behaves as the peer's models do; only its loading
is bound to the peer. So its subclass here loads configuration, model and tokenizer through transept, and inherits all else.
"""

from __future__ import annotations

import importlib
from typing import Any

import transept
from transept.errors import InputError, PluginNotFoundError

__all__ = ["NAME", "register"]

NAME = "transept"
"""How the harness calls our models: `--model transept`."""


def register() -> Any:
    """Put our model class into lm-eval's table, once; gives the class.

    Raises:
        PluginNotFoundError: lm-eval, or what it needs for local models, is not installed.
    """
    try:
        registry = importlib.import_module("lm_eval.api.registry")
        huggingface = importlib.import_module("lm_eval.models.huggingface")
    except ImportError as error:
        raise PluginNotFoundError(
            f"EleutherAI's harness cannot be used ({error}). Install it: pip install 'transept-eval[lm-eval]'"
        ) from error
    if NAME in registry.model_registry:
        return registry.get_model(NAME)
    made = _model_class(huggingface.HFLM)
    registry.register_model(NAME)(made)
    return made


def _model_class(base: Any) -> Any:
    class TranseptLM(base):  # type: ignore[misc]
        """A transept model for lm-eval. Takes the arguments of lm-eval's class for local models that concern scoring and
        generating, and those of `from_pretrained`."""

        def _get_config(
            self, pretrained: str, *, revision: str = "main", trust_remote_code: bool = False, **where: Any
        ) -> None:
            self._config = transept.AutoConfig.from_pretrained(pretrained, **_where(revision=revision, **where))

        def _get_backend(self, config: Any, backend: str = "default", trust_remote_code: bool | None = False) -> None:
            own = "seq2seq" if config.is_encoder_decoder else "causal"
            super()._get_backend(config, backend=own if backend == "default" else backend)

        def _create_model(
            self,
            pretrained: str,
            revision: str | None = "main",
            dtype: Any = "auto",
            trust_remote_code: bool | None = False,
            parallelize: bool | None = False,
            tp_plan: Any = None,
            gpus: int | None = None,
            max_memory_per_gpu: Any = None,
            max_cpu_memory: Any = None,
            offload_folder: str | None = "./offload",
            peft: str | None = None,
            delta: str | None = None,
            autogptq: Any = False,
            gptqmodel: Any = False,
            gguf_file: str | None = None,
            quantization_config: Any = None,
            subfolder: str = "",
            **options: Any,
        ) -> None:
            refused = {"delta": delta, "autogptq": autogptq, "gptqmodel": gptqmodel, "tp_plan": tp_plan}
            if asked := [name for name, value in refused.items() if value]:
                raise InputError(f"`{asked[0]}` in `--model_args` is for models that lm-eval loads itself: leave it out.")
            where = _where(revision=revision, gguf_file=gguf_file, subfolder=subfolder)
            if parallelize:
                memory = {"cpu": max_cpu_memory} if max_cpu_memory else {}
                memory |= {number: max_memory_per_gpu for number in range(gpus or 0) if max_memory_per_gpu}
                options |= {"device_map": "auto", "offload_folder": offload_folder} | ({"max_memory": memory} if memory else {})
            else:
                options.setdefault("device_map", str(self.device))
            if isinstance(options.get("rewrites"), str):
                options["rewrites"] = tuple(options["rewrites"].split("+"))
            # a quantized checkpoint says so in its own configuration, which is read with it
            door = transept.AutoModelForSeq2SeqLM if self.backend == "seq2seq" else transept.AutoModelForCausalLM
            self._model = door.from_pretrained(pretrained, dtype=dtype, **where, **options)
            if peft:
                from peft import PeftModel

                self._model = PeftModel.from_pretrained(self._model, peft)

        def _create_tokenizer(
            self,
            pretrained: Any,
            tokenizer: Any,
            revision: str | None = "main",
            trust_remote_code: bool | None = False,
            use_fast_tokenizer: bool | None = True,
            gguf_file: str | None = None,
            add_bos_token: bool | None = None,
            subfolder: str | None = "",
        ) -> None:
            if tokenizer is not None and not isinstance(tokenizer, str):
                self.tokenizer = tokenizer
                return
            place = tokenizer or (pretrained if isinstance(pretrained, str) else self.model.name_or_path)
            options: dict[str, Any] = {} if add_bos_token is None else {"add_bos_token": add_bos_token}
            where = _where(revision=revision, gguf_file=gguf_file if tokenizer is None else None, subfolder=subfolder)
            self.tokenizer = transept.AutoTokenizer.from_pretrained(place, use_fast=use_fast_tokenizer, **where, **options)

    return TranseptLM


def _where(**given: Any) -> dict[str, Any]:
    """Keywords that say where a checkpoint is. lm-eval fills in what is the default anyway, which not every source takes."""
    return {name: value for name, value in given.items() if value not in (None, "") and (name, value) != ("revision", "main")}
