"""A small decoder that keeps every promise, and siblings that break one each. A fixture installs it as a dist of its own."""

import torch
from torch import nn

from transept.configuration import PretrainedConfig, Size
from transept.errors import ConfigError
from transept.generation import GenerationMixin
from transept.model import PreTrainedModel
from transept.nn import (
    CheckpointedLayer,
    ForSequenceClassification,
    GatedMLP,
    OutputCollector,
    RMSNorm,
    RotaryEmbedding,
    SelfAttention,
    cache_for,
    embed_tokens,
    keep_positions,
    position_ids_from,
)
from transept.outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transept_hookspecs import ConfigSpec, ModelSpec, hookimpl


class ToyConfig(PretrainedConfig):
    model_type = "toy"
    attribute_map = {"n_embd": "hidden_size"}  # noqa: RUF012

    vocab_size: Size = 99
    hidden_size: Size = 32
    num_hidden_layers: Size = 2
    num_attention_heads: Size = 4
    max_position_embeddings: Size = 64
    initializer_range: float = 0.2
    dropout: float = 0.1
    use_cache: bool = True
    rope_parameters: dict | None = None

    def validate_config(self):
        super().validate_config()
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError("`hidden_size` is no multiple of `num_attention_heads`.")


class ToyLayer(CheckpointedLayer):
    def __init__(self, config, layer_idx):
        super().__init__()
        heads, width = config.num_attention_heads, config.hidden_size
        self.self_attn = SelfAttention(
            width, num_heads=heads, num_key_value_heads=heads, head_dim=width // heads, layer_idx=layer_idx
        )
        self.mlp = GatedMLP(width, 2 * width, "silu")
        self.norm = RMSNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden_states, *, mask, position_embeddings, past_key_values=None, need_weights=False):
        mixed, weights = self.self_attn(
            self.norm(hidden_states),
            mask=mask,
            position_embeddings=position_embeddings,
            past_key_values=past_key_values,
            need_weights=need_weights,
        )
        hidden_states = hidden_states + mixed
        return hidden_states + self.dropout(self.mlp(hidden_states)), weights


class ToyPreTrainedModel(PreTrainedModel):
    config_class = ToyConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True


class ToyModel(ToyPreTrainedModel):
    layer_class = ToyLayer

    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(self.layer_class(config, index) for index in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, eps=1e-6)
        self.rotary_emb = RotaryEmbedding(
            config.rope_parameters,
            head_dim=config.hidden_size // config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
        )
        self.post_init()

    def embed(self, input_ids, inputs_embeds):
        return embed_tokens(self.embed_tokens, input_ids, inputs_embeds)

    def positions(self, hidden_states, attention_mask, past_key_values, position_ids):
        return position_ids_from(hidden_states, attention_mask, past_key_values, position_ids)

    def collector(self, hidden_states, attentions):
        return OutputCollector(hidden_states, attentions)

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        *,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        output_attentions, output_hidden_states, return_dict = self.output_options(
            output_attentions, output_hidden_states, return_dict
        )
        hidden_states = self.embed(input_ids, inputs_embeds)
        past_key_values = cache_for(self, use_cache, past_key_values)
        mask = self.decoder_mask(hidden_states, attention_mask, past_key_values, position_ids=position_ids)
        positions = self.positions(hidden_states, attention_mask, past_key_values, position_ids)
        position_embeddings = self.rotary_emb(hidden_states, positions)
        collected = self.collector(output_hidden_states, output_attentions)
        for layer in self.layers:
            layer_input = hidden_states
            hidden_states, weights = layer(
                layer_input,
                mask=mask,
                position_embeddings=position_embeddings,
                past_key_values=past_key_values,
                need_weights=output_attentions,
            )
            collected.add(layer_input, weights)
        hidden_states = self.norm(hidden_states)
        collected.add(hidden_states)
        output = BaseModelOutputWithPast(
            last_hidden_state=hidden_states,
            past_key_values=past_key_values,
            hidden_states=collected.hidden_states,
            attentions=collected.attentions,
        )
        return output if return_dict else output.to_tuple()


class ToyForCausalLM(ToyPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012
    model_class = ToyModel

    def __init__(self, config):
        super().__init__(config)
        self.model = self.model_class(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        logits_to_keep=0,
        *,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        *_, return_dict = self.output_options(return_dict=return_dict)
        outputs = self.model(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            inputs_embeds,
            use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.lm_head(keep_positions(outputs.last_hidden_state, logits_to_keep))
        output = CausalLMOutputWithPast(
            loss=None if labels is None else self.loss_function(logits, labels),
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return output if return_dict else output.to_tuple()


class ToyForSequenceClassification(ForSequenceClassification, ToyPreTrainedModel):
    base_model_class = ToyModel


# -- siblings that break a promise ---------------------------------------------------------------------------------------------


class Inner(ToyForCausalLM):
    """Builds its base model from a broken class."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.model_class = type(f"{cls.__name__}Base", (cls.Base, ToyModel), {})


class ForgetsThePast(Inner):
    class Base:
        def positions(self, hidden_states, attention_mask, past_key_values, position_ids):
            return torch.arange(hidden_states.shape[1])[None]


class DropsTheMask(Inner):
    class Base:
        def decoder_mask(self, hidden_states, attention_mask, past_key_values=None, **options):
            return super().decoder_mask(hidden_states, None, past_key_values, **options)


class SeesTheFuture(Inner):
    class Base:
        def decoder_mask(self, *args, **options):
            return super().decoder_mask(*args, **options, kind="bidirectional")


class LosesTheLastState(Inner):
    class Collector(OutputCollector):
        @property
        def hidden_states(self):
            states = super().hidden_states
            return None if states is None else states[:-1]

    class Base:
        def collector(self, hidden_states, attentions):
            return LosesTheLastState.Collector(hidden_states, attentions)


class LooksAtValues(Inner):
    class Base:
        def embed(self, input_ids, inputs_embeds):
            embedded = super().embed(input_ids, inputs_embeds)
            return embedded * 2 if embedded.sum() > 1e9 else embedded


class LooksUpAnyId(Inner):
    class Base:
        def embed(self, input_ids, inputs_embeds):
            return self.embed_tokens(input_ids.clamp(0, 98)) if inputs_embeds is None else inputs_embeds


class DrawsInEvaluation(Inner):
    class Base:
        def embed(self, input_ids, inputs_embeds):
            return nn.functional.dropout(super().embed(input_ids, inputs_embeds), 0.2)


class LeavesABuffer(Inner):
    class Rotary(RotaryEmbedding):
        def reset_buffers(self, device):
            self.inv_freq = torch.empty(4, device=device)

    class Base:
        def __init__(self, config):
            super().__init__(config)
            self.rotary_emb.__class__ = LeavesABuffer.Rotary


class KeepsActivations(Inner):
    class Layer(nn.Module):
        def __init__(self, config, layer_idx):
            super().__init__()
            self.inside = ToyLayer(config, layer_idx)
            self.inside.set_gradient_checkpointing = lambda arguments: None

        def forward(self, hidden_states, **arguments):
            return self.inside(hidden_states, **arguments)

    class Base:
        @property
        def layer_class(self):
            return KeepsActivations.Layer


class SwallowsArguments(ToyForCausalLM):
    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        known = {"labels", "use_cache", "past_key_values", "position_ids", "output_hidden_states", "return_dict"}
        return super().forward(input_ids, attention_mask, **{name: value for name, value in kwargs.items() if name in known})


class Unties(ToyForCausalLM):
    def tie_weights(self):
        pass


class MissesNothing(ToyForCausalLM):
    new_on_load = ("*",)


class DetachesItsLoss(ToyForCausalLM):
    def loss_function(self, logits, labels):
        return super().loss_function(logits.detach().requires_grad_(), labels)


class AlwaysAnOutput(ToyForCausalLM):
    def forward(self, *args, return_dict=None, **kwargs):
        return super().forward(*args, **kwargs, return_dict=True)


class KeepsEveryLogit(ToyForCausalLM):
    def forward(self, input_ids=None, attention_mask=None, logits_to_keep=0, **kwargs):
        return super().forward(input_ids, attention_mask, **kwargs)


class StartsUnwritten(ToyForCausalLM):
    def __init__(self, config):
        super().__init__(config)
        self.scale = nn.Parameter(torch.empty(1))


HEADS = {
    "base": "toy_family:ToyModel",
    "causal_lm": "toy_family:ToyForCausalLM",
    "sequence_classification": "toy_family:ToyForSequenceClassification",
}


@hookimpl
def provide_configs():
    return [ConfigSpec(key="toy", config="toy_family:ToyConfig")]


@hookimpl
def provide_models():
    return [ModelSpec(key="toy", config="toy_family:ToyConfig", tasks=HEADS)]
