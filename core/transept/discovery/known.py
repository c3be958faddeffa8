"""What exists in the world of transept: the kinds of plugin, and which dist to install for a well-known key.

Only dists that the project publishes stand here: a command that names a dist nobody owns would be an invitation.
"""

from __future__ import annotations

KINDS = {
    "configs": "model_type",
    "models": "model_type",
    "tokenizers": "tokenizer",
    "attention": "attention kernel",
    "quantizers": "quantization method",
    "adapters": "library of adapters",
    "checkpoints": "checkpoint format",
    "sources": "source",
    "rewrites": "rewrite",
    "caches": "cache",
    "decoding": "decoding strategy",
    "pipelines": "pipeline",
    "processors": "processor",
    "optimizers": "optimizer",
    "schedulers": "scheduler",
    "metrics": "metric",
    "exporters": "exporter",
    "placements": "placement",
    "commands": "command",
    "observers": "observer",
    "api": "name",
}
"""Each kind has the entry-point group ``transept.<kind>``; what people call its keys."""

_EVENTS = "config_created model_loaded model_saved generation_started generation_step generation_finished training_event"
EVENTS = frozenset(_EVENTS.split())
"""The hooks of the kind `observers`, known here so that announcing to nobody imports nothing."""

_FAMILIES = "albert bart bert distilbert gemma2 gpt2 gpt_neox llama mistral qwen2 qwen3 roberta t5 vit whisper"
_MODELS = {family: f"transept-{family.replace('_', '-')}" for family in _FAMILIES.split()}

_BY_DIST: dict[str, dict[str, str]] = {
    "tokenizers": {
        "tokenizers": "PreTrainedTokenizerFast TokenizersBackend LlamaTokenizer LlamaTokenizerFast",
        "gguf": "GGUFTokenizer",
    },
    "attention": {"flex": "flex_attention", "flash": "flash_attention_2 flash_attention_3", "paged": "paged"},
    "quantizers": {
        "bitsandbytes": "bitsandbytes bitsandbytes_4bit bitsandbytes_8bit",
        **{name: name for name in ("torchao", "int8", "gguf", "gptq", "awq", "compressed-tensors", "hqq")},
    },
    "adapters": {"peft": "peft"},
    "checkpoints": {"gguf": "gguf", "ctranslate2": "ctranslate2"},
    "sources": {"pypi": "pypi"},
    "rewrites": {"fusion": "fuse_projections", "matvec": "matvec", "kernels-cpu": "kernels_cpu"},
    "caches": {"quantized-cache": "quantized", "offloaded-cache": "offloaded", "sink-cache": "sink", "paged": "paged"},
    "decoding": {
        "beam": "beam_search beam_sample",
        "constrained": "constrained",
        "contrastive": "contrastive",
        "assisted": "assisted prompt_lookup",
        "dola": "dola",
    },
    "pipelines": {
        "pipelines": "text-generation text-classification sentiment-analysis token-classification ner question-answering fill-mask "
        "summarization translation text2text-generation feature-extraction zero-shot-classification",
        "sentence": "sentence-similarity",
        "whisper": "automatic-speech-recognition",
        "vit": "image-classification",
    },
    "processors": {"vit": "ViTImageProcessor ViTImageProcessorFast", "whisper": "WhisperFeatureExtractor WhisperProcessor"},
    "optimizers": {"trainer": "adamw_torch adamw_torch_fused adafactor sgd adagrad rmsprop"},
    "schedulers": {
        "trainer": "linear cosine cosine_with_restarts polynomial constant constant_with_warmup inverse_sqrt reduce_lr_on_plateau "
        "cosine_with_min_lr cosine_warmup_with_min_lr warmup_stable_decay greedy"
    },
    "metrics": {
        "eval": "accuracy balanced_accuracy precision precision_macro precision_micro precision_weighted recall recall_macro "
        "recall_micro recall_weighted f1 f1_macro f1_micro f1_weighted matthews_correlation cohen_kappa roc_auc average_precision "
        "top_5_accuracy log_loss brier_score calibration_error perplexity mse mae r2 pearson spearman seqeval rouge bleu chrf ter "
        "exact_match squad"
    },
    "exporters": {"onnx": "onnx"},
    "placements": {"accelerate": "accelerate"},
    "commands": {
        "cli": "generate chat info explain convert plugins doctor",
        "trainer": "train",
        "onnx": "export",
        "eval": "eval lm-eval",
        "quantize": "quantize",
    },
    "api": {
        "trainer": "Trainer TrainingArguments Seq2SeqTrainer Seq2SeqTrainingArguments TrainerCallback TrainerControl TrainerState "
        "EarlyStoppingCallback EvalPrediction get_scheduler",
        "pipelines": "pipeline Pipeline",
        "sentence": "SentenceEncoder SentenceSimilarityPipeline",
        "bitsandbytes": "BitsAndBytesConfig",
        "torchao": "TorchAoConfig",
        "int8": "Int8Config",
        "gguf": "GgufConfig",
        "gptq": "GPTQConfig",
        "awq": "AwqConfig",
        "hqq": "HqqConfig",
        "compressed-tensors": "CompressedTensorsConfig",
        "processors": "BaseImageProcessor BatchFeature FeatureExtractionMixin ImageProcessingMixin ProcessorMixin "
        "SequenceFeatureExtractor",
        "data": "default_data_collator DefaultDataCollator",
        "eval": "evaluate load_metric make_compute_metrics",
        "onnx": "export_onnx ORTModelForCausalLM ORTModelForSeq2SeqLM ORTModelForFeatureExtraction ORTModelForSequenceClassification "
        "ORTModelForTokenClassification ORTModelForQuestionAnswering ORTModelForMaskedLM ORTModelForMultipleChoice "
        "ORTModelForImageClassification",
        "tokenizers": "PreTrainedTokenizerFast TokenizersBackend PreTrainedTokenizer PreTrainedTokenizerBase LlamaTokenizer "
        "LlamaTokenizerFast BatchEncoding AddedToken",
    },
}
"""For each kind: the dist, without `transept-`, and the keys that it offers."""

_DISTS = {"configs": _MODELS, "models": _MODELS} | {
    kind: {key: f"transept-{dist}" for dist, keys in dists.items() for key in keys.split()} for kind, dists in _BY_DIST.items()
}


_CLASSES = ("api", "tokenizers", "processors")


def noun(kind: str) -> str:
    """What people call a key of this kind."""
    return KINDS.get(kind, kind)


def known_keys(kind: str) -> list[str]:
    return list(_DISTS.get(kind, ()))


def known_dist(kind: str, key: str) -> str | None:
    """The dist to install for a well-known key; where keys are names of classes, also for those such as `BertModel`."""
    return _DISTS.get(kind, {}).get(key) or (_dist_of_class(key) if kind in _CLASSES else None)


def _dist_of_class(name: str) -> str | None:
    """`GPTNeoXForCausalLM` is one of gpt_neox's: class names spell the family without underscores, then go on in a capital."""
    if name.startswith("DataCollator"):
        return "transept-data"
    if name.endswith("Pipeline"):
        return "transept-pipelines"
    for family, dist in _MODELS.items():
        spelled = family.replace("_", "")
        if name.lower().startswith(spelled) and name[len(spelled) : len(spelled) + 1].isupper():
            return dist
    return None
