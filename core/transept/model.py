"""`PreTrainedModel`: the face that every architecture wears, thin over the rooms that do the work.

Loading is `transept.checkpoints`, attention is `transept.attention`, changing modules is `transept.rewrite`, text comes out
of `transept.generation`; this class hands over to them, and answers what other libraries ask of a model.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from .adapters import AdapterMixin, adapted_base
from .attention import Attention, MaskSpec
from .checkpoints.key_map import KeyMap
from .configuration import PretrainedConfig
from .discovery import registry
from .errors import AttentionError, ConfigError, InputError, UnknownArgumentError, did_you_mean, shorten
from .files import open_location
from .nn import losses, masks
from .nn.embeddings import resize_embedding, resize_head, resize_outputs
from .nn.initialization import initialize
from .rewrite import Rewrite, apply_live, local_tensors, make_rewrite, ties_after, undo

__all__ = ["PreTrainedModel"]


class PreTrainedModel(AdapterMixin, nn.Module):
    """A model with a configuration, that loads, saves and generates.

    A subclass says what it is in class attributes, builds its modules in `__init__` and ends that with `self.post_init()`.
    """

    config_class: ClassVar[type[PretrainedConfig]]
    """Set by each family's common base class."""
    base_model_prefix: ClassVar[str] = ""
    """Attribute under which a task model holds its base model; the prefix of its names in checkpoints."""
    main_input_name: ClassVar[str] = "input_ids"
    supports_gradient_checkpointing: ClassVar[bool] = False
    _tied_weights_keys: ClassVar[dict[str, str]] = {}
    """Tied parameters, target name to source name, in force when `config.tie_word_embeddings`."""
    _always_tied_weights_keys: ClassVar[dict[str, str]] = {}
    """Those in force whatever the configuration says: the embedding that an encoder and a decoder share."""
    _no_split_modules: ClassVar[list[str]] = []
    """Class names of modules whose parts must stay on one device."""
    _tp_plan: ClassVar[dict[str, str]] = {}
    _keys_to_ignore_on_load_unexpected: ClassVar[tuple[str, ...]] = ()
    """Patterns (fnmatch) of tensors that older checkpoints carry and the model does not need."""
    _keep_in_fp32_modules: ClassVar[tuple[str, ...]] = ()
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    key_map: KeyMap | None = None
    """From the names and layouts of the family's checkpoints to those of the model, where they differ; saving goes back."""
    new_on_load: ClassVar[tuple[str, ...]] = ()
    """Patterns of parameters that may be missing from a checkpoint, and are then initialised and reported: task heads."""

    config: Any

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        if not isinstance(config, PretrainedConfig):
            raise ConfigError(
                f"`{type(self).__name__}` is built from a configuration, not from `{type(config).__name__}`. To load a checkpoint, "
                f"call `{type(self).__name__}.from_pretrained(...)`."
            )
        wanted = getattr(type(self), "config_class", PretrainedConfig)
        if not isinstance(config, wanted):
            raise ConfigError(
                f"`{type(self).__name__}` is built from a `{wanted.__name__}`, not from a `{type(config).__name__}`: take the class "
                f"that the architecture has for it, `AutoModel.from_config(config)`."
            )
        config.validate_config()
        self.config = config
        self.name_or_path = config.name_or_path
        self.load_report: Any = None
        self.applied_rewrites: list[Any] = []
        self.warnings_issued: dict[str, bool] = {}
        self._attention_in_force: Any = config.attn_implementation
        self._gradient_checkpointing_arguments: dict[str, Any] | None = None
        self._input_grads_hook: Any = None
        if self.can_generate():
            from .generation import GenerationConfig

            self.generation_config = GenerationConfig.from_model_config(config)

    def post_init(self) -> None:
        """Finish construction: initialise what has storage, tie what is tied, bind attention. The last call of `__init__`."""
        if not any(parameter.is_meta for parameter in self.parameters()):
            initialize(self, self._init_weights)
        self.tie_weights()
        self._bind_attention(self.config.attn_implementation)

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise one module's own parameters; the default draws from N(0, `config.initializer_range`)."""
        from .nn.initialization import initialize_module

        initialize_module(module, std=getattr(self.config, "initializer_range", 0.02))

    # -- making, loading, saving ---------------------------------------------------------------------------------------

    @classmethod
    def from_config(cls, config: PretrainedConfig, *, dtype: torch.dtype | str | None = None, **kwargs: Any) -> Self:
        """A model with freshly initialised weights; keywords are `attn_implementation` and arguments of the class's own."""
        from .checkpoints.pretrained import LoadOptions

        attention = kwargs.pop("attn_implementation", None)
        dtype = LoadOptions.one_dtype(dtype, kwargs.pop("torch_dtype", None))
        own = _taken_by(cls, config, kwargs)
        _refuse_unknown(f"{cls.__name__}.from_config", kwargs, ("dtype", "attn_implementation"))
        if attention is not None:
            config = config.copy_with(attn_implementation=attention)
        model = cls(config, **own)
        chosen = LoadOptions.parse_dtype(dtype)
        if isinstance(chosen, torch.dtype):
            for parameter in model.parameters():
                parameter.data = parameter.data.to(chosen)
        return model

    _from_config = from_config

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *model_args: Any,
        config: PretrainedConfig | str | os.PathLike[str] | None = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Load a checkpoint.

        Args:
            pretrained_model_name_or_path: a folder, a file, a name on the hub, or `scheme:name` for an installed source.
                None with `config` and `state_dict`: the tensors come from that mapping.
            config: a configuration, or where to find one, in place of the checkpoint's.
            output_loading_info: return `(model, info)`, `info` a dict with `missing_keys`, `unexpected_keys`,
                `mismatched_keys` and `error_msgs`.
            **kwargs: fields of `transept.checkpoints.LoadOptions` (`dtype`, `device_map`, `attn_implementation`,
                `quantization_config`, `rewrites`, `strict`, `ignore_mismatched_sizes`, `revision`, `mmap`, …), or of the
                configuration, which they override, or arguments of the class beside it. Anything else is refused.

        Raises:
            CheckpointNotFoundError: nothing is there; MissingTensorsError, ShapeMismatchError, UnexpectedTensorsError: it
                does not fit the model; CorruptFileError, UnsafePathError: it cannot be trusted; UnknownArgumentError.
        """
        from .checkpoints.pretrained import LoadOptions, load_pretrained

        if model_args:
            raise UnknownArgumentError(
                f"`{cls.__name__}.from_pretrained` takes one positional argument, {len(model_args) + 1} were given."
            )
        options, overrides = LoadOptions.split(kwargs)
        if pretrained_model_name_or_path is None and options.state_dict is None:
            raise InputError(f"`{cls.__name__}.from_pretrained(None)` needs `config` and `state_dict`.")
        location = None
        if pretrained_model_name_or_path is not None:
            location = open_location(pretrained_model_name_or_path, **options.location())
            base = adapted_base(location)
            if base is not None:
                if output_loading_info:
                    raise InputError("`output_loading_info` is about a model's own weights, and this is an adapter.")
                rest = {name: value for name, value in kwargs.items() if name not in options.location()}
                adapted = cls.from_pretrained(base, config=config if isinstance(config, PretrainedConfig) else None, **rest)
                adapted.load_adapter(location)
                return adapted
        if not isinstance(config, PretrainedConfig):
            source = config if config is not None else location
            if source is None:
                raise InputError("A model from a `state_dict` alone needs `config`.")
            config, unknown = cls.config_class.from_pretrained(source, return_unused_kwargs=True, **overrides)
        else:
            unknown = {name: value for name, value in overrides.items() if not config.has_field(name)}
            config = config.copy_with(**{name: value for name, value in overrides.items() if name not in unknown})
        own = _taken_by(cls, config, unknown)
        _refuse_unknown(f"{cls.__name__}.from_pretrained", unknown, (*LoadOptions.names(), *cls.config_class.model_fields))
        model = load_pretrained(partial(cls, **own), config, location, options)
        if location is not None and cls.can_generate() and location.fetch("generation_config.json") is not None:
            from .generation import GenerationConfig

            model.generation_config = GenerationConfig.from_pretrained(location)
        _tell(cls.__name__, model.load_report)
        registry.notify("model_loaded", model=model, report=model.load_report)
        return (model, model.load_report.as_loading_info()) if output_loading_info else model  # type: ignore[return-value]

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        max_shard_size: int | str = "5GB",
        variant: str | None = None,
        safe_serialization: bool = True,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write config, generation config and weights (safetensors), so that a kill at any moment leaves the old or the new.

        Of a model with adapters they alone are written, as the peer does; `merge_adapter()` first writes one model.
        """
        hub = {
            name: kwargs.pop(name) for name in ("repo_id", "token", "private", "commit_message", "revision") if name in kwargs
        }
        kwargs.pop("save_function", None)  # from accelerate scripts: who writes is `is_main_process`, and how is safetensors
        _refuse_unknown(
            "save_pretrained", kwargs, ("max_shard_size", "state_dict", "variant", "push_to_hub", "repo_id", "token")
        )
        if not safe_serialization:
            raise UnknownArgumentError(
                "`safe_serialization=False` asks for pickled weights, which transept does not write: drop it."
            )
        if is_main_process:
            from .checkpoints.save import save_model

            if self._adapters is not None:
                self._adapters.save(save_directory)
            else:
                save_model(self, save_directory, state_dict=state_dict, max_shard_size=max_shard_size, variant=variant)
            registry.notify("model_saved", model=self, folder=os.fspath(save_directory))
        if push_to_hub:
            from .files.hub import upload_folder

            upload_folder(save_directory, **{"repo_id": os.path.basename(os.fspath(save_directory)), **hub})

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> None:
        """Save to a temporary folder and upload it to `repo_id` on the hub; needs a token with write access."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, push_to_hub=True, repo_id=repo_id, **kwargs)

    def _slow_forward(self, *args: Any, **kwargs: Any) -> Any:
        """What torch calls in place of `forward` while it traces: its older ONNX exporter passes keyword-only arguments by position."""
        given = zip(signature(self.forward).parameters.values(), args, strict=False)
        named = {parameter.name: value for parameter, value in given if parameter.kind is parameter.KEYWORD_ONLY}
        return super()._slow_forward(*args[: len(args) - len(named)], **named, **kwargs)

    # -- parts ---------------------------------------------------------------------------------------------------------

    @property
    def base_model(self) -> nn.Module:
        """The model without its task head; itself when it has none."""
        return getattr(self, self.base_model_prefix, self) if self.base_model_prefix else self

    @classmethod
    def can_generate(cls) -> bool:
        return hasattr(cls, "generate")

    def get_decoder(self) -> nn.Module:
        """The decoder: the base model of a decoder-only model."""
        inner = self.base_model
        return (
            inner.get_decoder()
            if inner is not self and isinstance(inner, PreTrainedModel)
            else getattr(inner, "decoder", inner)
        )

    def get_encoder(self) -> nn.Module:
        """The encoder: the base model of an encoder-only model."""
        inner = self.base_model
        return (
            inner.get_encoder()
            if inner is not self and isinstance(inner, PreTrainedModel)
            else getattr(inner, "encoder", inner)
        )

    _input_embeddings_name: ClassVar[str] = "embed_tokens"
    _output_embeddings_name: ClassVar[str] = "lm_head"

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding: (vocab_size, hidden_size)."""
        owner: Any = self.base_model
        if owner is not self and isinstance(owner, PreTrainedModel):
            return owner.get_input_embeddings()
        return owner.get_submodule(self._input_embeddings_name)

    def set_input_embeddings(self, value: nn.Module) -> None:
        owner: Any = self.base_model
        if owner is not self and isinstance(owner, PreTrainedModel):
            owner.set_input_embeddings(value)
            return
        owner.set_submodule(self._input_embeddings_name, value)

    def get_output_embeddings(self) -> nn.Module | None:
        """The language-model head, or None where the class has none."""
        return getattr(self, self._output_embeddings_name, None)

    def set_output_embeddings(self, value: nn.Module) -> None:
        if self.get_output_embeddings() is None:
            raise InputError(f"`{type(self).__name__}` has no output embeddings to set.")
        setattr(self, self._output_embeddings_name, value)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Module:
        """Grow or shrink the vocabulary; the kept rows keep their values, ties stay ties.

        With `mean_resizing` new rows are drawn around the mean of the old ones, else by the model's own initialisation.
        """
        old = self.get_input_embeddings()
        if new_num_tokens is None and pad_to_multiple_of is None:
            return old
        rows = new_num_tokens if new_num_tokens is not None else self.get_input_embeddings().get_parameter("weight").shape[0]
        if pad_to_multiple_of is not None:
            rows = -(-int(rows) // pad_to_multiple_of) * pad_to_multiple_of
        head = self.get_output_embeddings()
        is_tied = head is not None and getattr(head, "weight", None) is getattr(old, "weight", None)
        new = resize_embedding(old, int(rows), mean=mean_resizing, initialize=self._init_weights)
        self.set_input_embeddings(new)
        if head is not None and not is_tied:
            self.set_output_embeddings(resize_head(head, int(rows), mean=mean_resizing, initialize=self._init_weights))
        elif head is not None:
            self.set_output_embeddings(resize_outputs(head, int(rows), mean=False))
            self.tie_weights()
        self.config.vocab_size = int(rows)
        return new

    @property
    def tied_weights(self) -> dict[str, str]:
        """Ties in force: target parameter's full name to source parameter's."""
        ties: dict[str, str] = {}
        for prefix, module in self.named_modules():
            if isinstance(module, PreTrainedModel):
                tied = module._tied_weights_keys if module.config.tie_word_embeddings else {}
                dot = f"{prefix}." if prefix else ""
                declared = {**module._always_tied_weights_keys, **tied}
                ties.update({dot + target: dot + source for target, source in declared.items()})
        return ties_after(ties, self.applied_rewrites)

    def tie_weights(self) -> None:
        """Make each tied parameter the same object as its source."""
        for target, source in self.tied_weights.items():
            owner, _, name = target.rpartition(".")
            setattr(self.get_submodule(owner), name, self.get_parameter(source))

    def untie(self, target: str) -> None:
        """Give a tied parameter data of its own; the configuration says so from now on, so that it is saved and loaded as it is."""
        owner, _, name = target.rpartition(".")
        tied = self.get_parameter(target)
        setattr(self.get_submodule(owner), name, nn.Parameter(tied.detach().clone(), requires_grad=tied.requires_grad))
        self.config.tie_word_embeddings = False

    # -- attention -----------------------------------------------------------------------------------------------------

    def attention_layers(self) -> Iterator[tuple[str, Attention]]:
        """Path and binding of each attention layer."""
        for path, module in self.named_modules():
            binding = getattr(module, "attention", None)
            if isinstance(binding, Attention):
                yield path, binding

    def set_attention(self, implementation: str | Mapping[str, str] | None) -> None:
        """Serve attention by this kernel from now on (`"auto"`: the best that can); refused kernels leave the model as it was.

        A mapping gives a kernel for each layer whose path matches the key (fnmatch); the others get `"auto"`.
        """
        self._bind_attention(implementation)
        self.config.attn_implementation = implementation

    set_attn_implementation = set_attention

    def _bind_attention(self, implementation: str | Mapping[str, str] | None) -> None:
        from fnmatch import fnmatchcase

        layers = list(self.attention_layers())
        chosen: dict[str, str] = {}
        for path, _ in layers:
            if isinstance(implementation, Mapping):
                chosen[path] = next((name for pattern, name in implementation.items() if fnmatchcase(path, pattern)), "auto")
            else:
                chosen[path] = "auto" if implementation is None else implementation
        if isinstance(implementation, Mapping):
            unused = [pattern for pattern in implementation if not any(fnmatchcase(path, pattern) for path, _ in layers)]
            if unused:
                raise AttentionError(
                    f"No attention layer matches `{unused[0]}`; layers are `{layers[0][0] if layers else ''}`, …"
                )
        before = [(binding, binding.implementation) for _, binding in layers]
        try:
            for path, binding in layers:
                if binding.implementation != chosen[path]:
                    binding.use(chosen[path])
        except Exception:
            for binding, name in before:
                binding.implementation = name
            raise
        for module in self.modules():
            if isinstance(module, PreTrainedModel) and module.config is self.config:
                # a mapping of its own: the config's may be changed in place
                module._attention_in_force = dict(implementation) if isinstance(implementation, Mapping) else implementation

    def attention_mask_for(
        self, hidden_states: Tensor, attention_mask: Tensor | None, past_key_values: Any = None, **kwargs: Any
    ) -> MaskSpec:
        """The mask of this forward pass (see `transept.nn.masks.decoder_mask`), after the config's kernel is in force."""
        if self.config.attn_implementation != self._attention_in_force:
            self._bind_attention(self.config.attn_implementation)
        return masks.decoder_mask(hidden_states, attention_mask, past_key_values, **kwargs)

    decoder_mask = attention_mask_for

    # -- training ------------------------------------------------------------------------------------------------------

    @property
    def loss_function(self) -> Callable[..., Tensor]:
        """The causal language-model loss; task heads have their own in `transept.nn.losses`."""
        return losses.causal_lm_loss

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Recompute activations in the backward pass instead of keeping them.

        `gradient_checkpointing_kwargs` go to `torch.utils.checkpoint.checkpoint`; `use_reentrant` is False unless given.
        """
        if not self.supports_gradient_checkpointing:
            raise InputError(f"`{type(self).__name__}` has no layers that can be checkpointed.")
        self._set_checkpointing({"use_reentrant": False, **(gradient_checkpointing_kwargs or {})})

    def gradient_checkpointing_disable(self) -> None:
        self._set_checkpointing(None)

    def _set_checkpointing(self, arguments: dict[str, Any] | None) -> None:
        from .nn.checkpointing import CheckpointedLayer

        for module in self.modules():
            if isinstance(module, CheckpointedLayer):
                module.set_gradient_checkpointing(arguments)
        self._gradient_checkpointing_arguments = arguments

    @property
    def is_gradient_checkpointing(self) -> bool:
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    def enable_input_require_grads(self) -> None:
        """Make the embeddings' output require grad, so that gradients reach adapters through frozen weights."""

        def require_grad(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            output.requires_grad_(True)

        if self._input_grads_hook is None:
            self._input_grads_hook = self.get_input_embeddings().register_forward_hook(require_grad)

    def disable_input_require_grads(self) -> None:
        if self._input_grads_hook is not None:
            self._input_grads_hook.remove()
            self._input_grads_hook = None

    # -- changing modules ----------------------------------------------------------------------------------------------

    def rewrite(self, rewrite: str | Rewrite, **options: Any) -> Self:
        """Apply an installed rewrite by name, or one of your own, to this live model."""
        apply_live(self, make_rewrite(rewrite, self.config, **options))
        return self

    def undo_rewrite(self, key: str) -> Self:
        """Take a rewrite back: the original modules and names return."""
        undo(self, key)
        return self

    def quantize(self, quantization_config: Any) -> Self:
        """Quantize this live model: settings, the name of a method or preset, or a table of them by pattern."""
        from .quantization import quantize

        quantize(self, quantization_config)
        return self

    def dequantize(self) -> Self:
        """Unpack every quantized module: ordinary layers with the values that the packed weights stood for."""
        from .quantization import dequantize

        dequantize(self)
        return self

    # -- what people and libraries ask ---------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the first parameter lives; for a model that is offloaded whole, where it computes."""
        placed = next((parameter.device for parameter in self.parameters() if not parameter.is_meta), None)
        computes = getattr(getattr(self, "_hf_hook", None), "execution_device", None)
        if placed is None and computes is not None:
            return torch.device(computes)
        return placed if placed is not None else next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first floating-point parameter."""
        return next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.get_default_dtype())

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Number of parameters; a tied one counts once, and a packed one as what it stands for."""
        from .quantization import PackedEmbedding

        sizes = {id(p): p.numel() for p in self.parameters() if p.requires_grad or not only_trainable}
        held = local_tensors(self)
        for one in self.applied_rewrites if not only_trainable else ():
            packed = [held[name] for name in one.full(one.targets) if name in held] if one.rewrite.packs else []
            if packed:
                sizes.update(dict.fromkeys(map(id, packed), 0))
                sizes[id(packed[0])] = sum(local_tensors(one.original)[name].numel() for name in one.sources)
        if exclude_embeddings:
            kinds = (nn.Embedding, PackedEmbedding)
            sizes.update({id(p): 0 for m in self.modules() if isinstance(m, kinds) for p in m.parameters()})
        return sum(sizes.values())

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """Bytes that parameters (and buffers) take."""
        held = {id(t): t.numel() * t.element_size() for t in self.parameters()}
        if return_buffers:
            held.update({id(t): t.numel() * t.element_size() for t in self.buffers()})
        return sum(held.values())

    def output_options(
        self,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> tuple[bool, bool, bool]:
        """What a forward pass returns: the arguments, and where they are None the configuration's."""
        config = self.config
        return (
            config.output_attentions if output_attentions is None else output_attentions,
            config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            config.return_dict if return_dict is None else return_dict,
        )

    @property
    def is_quantized(self) -> bool:
        return getattr(self.config, "quantization_config", None) is not None

    @property
    def quantization_method(self) -> str | None:
        return getattr(self.config.quantization_config, "quant_method", None)

    @property
    def is_loaded_in_4bit(self) -> bool:
        """peft asks for this: 4-bit layers of bitsandbytes."""
        return bool(getattr(self.config.quantization_config, "load_in_4bit", False))

    @property
    def is_loaded_in_8bit(self) -> bool:
        """peft asks for this: 8-bit layers of bitsandbytes."""
        return bool(getattr(self.config.quantization_config, "load_in_8bit", False))

    @property
    def framework(self) -> str:
        return "pt"

    def add_model_tags(self, tags: str | Sequence[str]) -> None:
        """Accepted for libraries that tag models for the hub's pages; kept on the instance, never saved."""
        self.model_tags = [*getattr(self, "model_tags", []), *([tags] if isinstance(tags, str) else tags)]


def _tell(name: str, report: Any) -> None:
    """Say what a load left out or made up: it is seldom what somebody wanted, and never an error."""
    for told, why in ((report.absent, "not in the checkpoint"), (report.mismatched, "of another shape")):
        if told:
            warnings.warn(f"`{name}`: {shorten(told)} are {why} and were drawn at random: train them before use.", stacklevel=4)
    if report.unexpected:
        warnings.warn(f"`{name}` has no place for {shorten(report.unexpected)} of the checkpoint: left out.", stacklevel=4)


def _taken_by(cls: type[Any], config: PretrainedConfig, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those among the arguments that the class's `__init__` names and the configuration doesn't; they are taken out."""
    own = [p.name for p in signature(cls).parameters.values() if p.kind is not p.VAR_KEYWORD and p.name != "config"]
    return {name: arguments.pop(name) for name in own if name in arguments and not config.has_field(name)}


def _refuse_unknown(where: str, unknown: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in unknown:
        raise UnknownArgumentError(f"`{where}` got an unknown argument `{name}`.{did_you_mean(name, known)}", argument=name)
