"""transformers' architectures: their structure with two layers and moderate widths, since weights do not matter here.

Each entry names a model class, its configuration and what it is fed. A model gives its tensors (hidden states, pooled
output, logits) as a tuple; caches of keys and values are not among them.
"""
import torch
from torch import nn

WIDE = dict(vocab_size=1000, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
            max_position_embeddings=128)
DECODER = dict(WIDE, num_key_value_heads=2)
SEQ2SEQ = dict(vocab_size=1000, d_model=128, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
               decoder_attention_heads=4, encoder_ffn_dim=256, decoder_ffn_dim=256, max_position_embeddings=128, pad_token_id=0,
               decoder_start_token_id=1)
T5 = dict(vocab_size=1000, d_model=128, d_kv=32, d_ff=256, num_layers=2, num_decoder_layers=2, num_heads=4)
IMAGE = dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256, image_size=64, patch_size=16)
AUDIO = dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256, conv_dim=(64, 64, 64),
             conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3), num_conv_pos_embeddings=32, num_conv_pos_embedding_groups=4)

# name -> (model class, configuration class, its fields, inputs)
MODELS = {
    "Albert": ("AlbertModel", "AlbertConfig", dict(WIDE, embedding_size=64), "encoder"),
    "Bart": ("BartModel", "BartConfig", SEQ2SEQ, "seq2seq"),
    "Beit": ("BeitModel", "BeitConfig", IMAGE, "image"),
    "Bert": ("BertModel", "BertConfig", WIDE, "encoder"),
    "BertMaskedLM": ("BertForMaskedLM", "BertConfig", WIDE, "encoder"),
    "BertSequence": ("BertForSequenceClassification", "BertConfig", WIDE, "encoder"),
    "Bloom": ("BloomForCausalLM", "BloomConfig", dict(vocab_size=1000, hidden_size=128, n_layer=2, n_head=4), "decoder"),
    "CLIP": ("CLIPModel", "CLIPConfig", dict(text_config=dict(WIDE, eos_token_id=999), vision_config=IMAGE, projection_dim=64), "clip"),
    "CLIPText": ("CLIPTextModel", "CLIPTextConfig", dict(WIDE, eos_token_id=999), "encoder"),
    "CLIPVision": ("CLIPVisionModel", "CLIPVisionConfig", IMAGE, "image"),
    "Canine": ("CanineModel", "CanineConfig", dict(WIDE, num_hash_buckets=512, local_transformer_stride=32), "encoder"),
    "ConvBert": ("ConvBertModel", "ConvBertConfig", dict(WIDE, embedding_size=128), "encoder"),
    "ConvNext": ("ConvNextModel", "ConvNextConfig", dict(hidden_sizes=[32, 64, 96, 128], depths=[1, 1, 2, 1]), "image"),
    "DebertaV2": ("DebertaV2Model", "DebertaV2Config",
                  dict(WIDE, relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=32), "encoder"),
    "DeiT": ("DeiTModel", "DeiTConfig", IMAGE, "image"),
    "Dinov2": ("Dinov2Model", "Dinov2Config", IMAGE, "image"),
    "DistilBert": ("DistilBertModel", "DistilBertConfig", dict(vocab_size=1000, dim=128, hidden_dim=256, n_layers=2, n_heads=4), "encoder"),
    "Electra": ("ElectraModel", "ElectraConfig", dict(WIDE, embedding_size=64), "encoder"),
    "Ernie": ("ErnieModel", "ErnieConfig", WIDE, "encoder"),
    "FNet": ("FNetModel", "FNetConfig", dict(vocab_size=1000, hidden_size=128, num_hidden_layers=2, intermediate_size=256), "ids"),
    "Funnel": ("FunnelModel", "FunnelConfig", dict(vocab_size=1000, block_sizes=[1, 1], d_model=128, n_head=4, d_head=32, d_inner=256), "encoder"),
    "GPT2": ("GPT2LMHeadModel", "GPT2Config", dict(vocab_size=1000, n_positions=128, n_embd=128, n_layer=2, n_head=4), "decoder"),
    "GPTNeo": ("GPTNeoForCausalLM", "GPTNeoConfig",
               dict(vocab_size=1000, hidden_size=128, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=16,
                    max_position_embeddings=128), "decoder"),
    "GPTNeoX": ("GPTNeoXForCausalLM", "GPTNeoXConfig", WIDE, "decoder"),
    "Gemma": ("GemmaForCausalLM", "GemmaConfig", dict(DECODER, head_dim=32), "decoder"),
    "Hubert": ("HubertModel", "HubertConfig", AUDIO, "audio"),
    "LayoutLM": ("LayoutLMModel", "LayoutLMConfig", WIDE, "encoder"),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", DECODER, "decoder"),
    "Longformer": ("LongformerModel", "LongformerConfig", dict(WIDE, attention_window=16), "encoder"),
    "MBart": ("MBartModel", "MBartConfig", SEQ2SEQ, "seq2seq"),
    "MPNet": ("MPNetModel", "MPNetConfig", WIDE, "encoder"),
    "Mamba": ("MambaForCausalLM", "MambaConfig", dict(vocab_size=1000, hidden_size=128, num_hidden_layers=2, state_size=16), "decoder"),
    "Marian": ("MarianModel", "MarianConfig", SEQ2SEQ, "seq2seq"),
    "Mistral": ("MistralForCausalLM", "MistralConfig", DECODER, "decoder"),
    "MobileBert": ("MobileBertModel", "MobileBertConfig", dict(WIDE, embedding_size=64, true_hidden_size=64, intra_bottleneck_size=64), "encoder"),
    "Nystromformer": ("NystromformerModel", "NystromformerConfig", dict(WIDE, num_landmarks=16, segment_means_seq_len=32), "encoder"),
    "OPT": ("OPTForCausalLM", "OPTConfig",
            dict(vocab_size=1000, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, ffn_dim=256, word_embed_proj_dim=128,
                 max_position_embeddings=128), "decoder"),
    "Phi": ("PhiForCausalLM", "PhiConfig", DECODER, "decoder"),
    "Qwen2": ("Qwen2ForCausalLM", "Qwen2Config", DECODER, "decoder"),
    "Qwen3": ("Qwen3ForCausalLM", "Qwen3Config", dict(DECODER, head_dim=32), "decoder"),
    "RemBert": ("RemBertModel", "RemBertConfig", dict(WIDE, input_embedding_size=64), "encoder"),
    "Roberta": ("RobertaModel", "RobertaConfig", WIDE, "encoder"),
    "Segformer": ("SegformerModel", "SegformerConfig",
                  dict(depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 64, 128], num_attention_heads=[1, 2, 4, 8]), "image"),
    "SqueezeBert": ("SqueezeBertModel", "SqueezeBertConfig", dict(WIDE, embedding_size=128), "encoder"),
    "Swin": ("SwinModel", "SwinConfig", dict(image_size=64, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4), "image"),
    "T5": ("T5Model", "T5Config", T5, "seq2seq"),
    "T5Encoder": ("T5EncoderModel", "T5Config", T5, "encoder"),
    "ViT": ("ViTModel", "ViTConfig", IMAGE, "image"),
    "Wav2Vec2": ("Wav2Vec2Model", "Wav2Vec2Config", AUDIO, "audio"),
    "Whisper": ("WhisperModel", "WhisperConfig", dict(SEQ2SEQ, num_mel_bins=80, max_source_positions=100, max_target_positions=64), "speech"),
    "XLMRoberta": ("XLMRobertaModel", "XLMRobertaConfig", WIDE, "encoder"),
    "XLNet": ("XLNetModel", "XLNetConfig", dict(vocab_size=1000, d_model=128, n_layer=2, n_head=4, d_inner=256), "encoder"),
    "Yolos": ("YolosModel", "YolosConfig", dict(IMAGE, image_size=[64, 64], num_detection_tokens=10), "image"),
}
SEQUENCE, VOCABULARY, IMAGE_SIZE, SAMPLES, FRAMES = 32, 1000, 64, 4000, 200


class Tensors(nn.Module):
    """A model by keyword; its output's tensors as a tuple."""

    def __init__(self, model, names, extra):
        super().__init__()
        self.model, self.names, self.extra = model, names, extra

    def forward(self, *inputs):
        output = self.model(**dict(zip(self.names, inputs)), **self.extra, return_dict=True)
        found = tuple(value for value in output.values() if isinstance(value, torch.Tensor))
        return found if len(found) > 1 else found[0]


def ids(batch, generator):
    return torch.randint(5, VOCABULARY - 5, (batch, SEQUENCE), generator=generator)


def mask(batch, generator):
    """i64: sentences that end before the sequence does."""
    lengths = torch.randint(SEQUENCE // 2, SEQUENCE, (batch, 1), generator=generator)
    return (torch.arange(SEQUENCE)[None, :] < lengths).to(torch.int64)


def image(batch, generator):
    return torch.randn(batch, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)


def audio(batch, generator):
    return torch.randn(batch, SAMPLES, generator=generator)


def spectrum(batch, generator):
    return torch.randn(batch, 80, FRAMES, generator=generator)


# kind of input -> what each parameter is drawn from, and what else the call gets
INPUTS = {
    "ids": (dict(input_ids=ids), {}),
    "encoder": (dict(input_ids=ids, attention_mask=mask), {}),
    # With a cache (empty, and dropped): without one transformers looks for packed sequences, with a vmap that cannot be traced.
    "decoder": (dict(input_ids=ids), dict(use_cache=True)),
    "seq2seq": (dict(input_ids=ids, attention_mask=mask, decoder_input_ids=ids), dict(use_cache=False)),
    "image": (dict(pixel_values=image), {}),
    "audio": (dict(input_values=audio), {}),
    "speech": (dict(input_features=spectrum, decoder_input_ids=ids), dict(use_cache=True)),
    "clip": (dict(input_ids=ids, pixel_values=image, attention_mask=mask), {}),
}


def available(name: str) -> bool:
    import transformers
    return name in MODELS and hasattr(transformers, MODELS[name][0])


def transformers_model(name: str, options: dict):
    """(module, draw): `draw(batch, generator)` gives the tuple of inputs."""
    import transformers
    transformers.logging.set_verbosity_error()
    model_class, config_class, fields, kind = MODELS[name]
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**fields))
    drawn, extra = INPUTS[kind]
    return Tensors(model, list(drawn), extra), lambda batch, g: tuple(make(batch, g) for make in drawn.values())
