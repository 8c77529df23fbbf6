"""Our MedVInT-TE in transformers against what the original itself answered, encoder by encoder."""

import pytest
import torch

from serving.conversion_check import check
from serving.medvint_te.answering import Answerer
from serving.medvint_te.conversion_check import LENGTHS
from tests.serving.random_checkpoints import fingerprint
from tests.serving.te_models import converted
from tests.serving.te_variants import VARIANTS, reference
from tests.serving.variants import pictures


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request, tmp_path_factory):
    """A name, the converted folder, and what answers with it."""
    folder = converted(request.param, tmp_path_factory.mktemp(request.param))
    return request.param, folder, Answerer.load(folder, torch.float32)


@pytest.mark.parametrize("name", VARIANTS)
def test_reference_is_of_these_weights_and_depends_on_the_image(name):
    told = reference(name)
    assert fingerprint(VARIANTS[name].state()) == told["weights"]
    first, second, *_ = told["cases"]
    assert first["input_ids"] == second["input_ids"]
    assert abs(first["logprobs"][0][0] - second["logprobs"][0][0]) > 1e-2


@torch.no_grad()
def test_the_answer_s_positions_are_the_original_s(variant):
    name, _, answerer = variant
    seen = answerer.look(pictures())
    text = answerer.text
    for case in reference(name)["cases"]:
        asked = case["question"], case["choices"]
        prompt = text.blank(asked[0]) if case["form"] == "blank" else text.choice(*asked)
        answer = text.answer(case["answer"] if case["form"] == "blank" else case["letter"])
        assert answer == case["answer_ids"]
        ids = text.masked(prompt, len(answer))
        assert ids == case["input_ids"]
        rows, mask = text.batch([ids])
        positions = torch.zeros_like(rows, dtype=torch.bool)
        positions[0, case["positions"]] = True
        features = seen[case["picture"]][None]
        found = answerer.model(rows, mask, image_features=features, positions=positions).logits.log_softmax(-1)
        tokens, expected = torch.tensor(case["tokens"]), torch.tensor(case["logprobs"])
        assert found.argmax(-1).tolist() == tokens[:, 0].tolist()
        torch.testing.assert_close(found.gather(1, tokens), expected, atol=1e-4, rtol=1e-5)


def test_check_finds_the_folder_to_answer_as_its_source(variant, tmp_path):
    name, folder, _ = variant
    torch.save(VARIANTS[name].state(), tmp_path / "pytorch_model.bin")
    compared = check(tmp_path / "pytorch_model.bin", folder, folder)
    assert compared.tokens == compared.equal_tokens == sum(length + 1 for length in LENGTHS)
    assert compared.largest_difference < 1e-3
