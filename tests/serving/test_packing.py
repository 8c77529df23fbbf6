"""Questions packed behind one visual prefix give what each gives alone."""

import torch
from transformers import LlamaConfig, LlamaModel

from serving.training.packing import IGNORE, Segment, pack

PREFIX, IMAGE_ID = 4, 99


def tiny_decoder():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    return LlamaModel(config).eval()


@torch.no_grad()
def hidden(model, batch, prefix):
    words = model.embed_tokens(batch.input_ids)
    embeds = torch.cat([prefix.expand(len(words), -1, -1), words[:, PREFIX:]], 1)
    return model(
        inputs_embeds=embeds, attention_mask=batch.attention_mask, position_ids=batch.position_ids, use_cache=False
    ).last_hidden_state


def test_packed_questions_do_not_see_each_other():
    model, prefix = tiny_decoder(), torch.randn(1, PREFIX, 32)
    segments = [Segment([1, 5, 6, 7, 2], 3), Segment([1, 8, 9, 2], 2), Segment([1, 10, 11, 12, 13, 2], 4)]
    together = hidden(model, packed := pack([segments, segments[:1]], PREFIX, IMAGE_ID), prefix)
    for index, segment in enumerate(segments):
        alone = hidden(model, pack([[segment]], PREFIX, IMAGE_ID), prefix)
        torch.testing.assert_close(together[0][packed.segments[0] == index], alone[0, PREFIX:], rtol=1e-4, atol=1e-5)


def test_only_answer_and_stop_token_are_learned():
    batch = pack([[Segment([1, 5, 6, 7, 2], 3)]], PREFIX, IMAGE_ID)
    assert batch.labels[0].tolist() == [IGNORE] * (PREFIX + 2) + [7, 2, IGNORE]
