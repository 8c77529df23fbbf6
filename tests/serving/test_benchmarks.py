"""The benchmarks' own arithmetic, and weights in fewer bits. Figures are measured elsewhere: nothing here times anything."""

import json
import math
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from safetensors.torch import load_file

from serving.benchmarks.client import Question, questions
from serving.benchmarks.decoding import shares, weight_bytes
from serving.benchmarks.measuring import Row, markdown, save, tree_memory
from serving.quantise import GROUP, QuantisationError, quantise
from serving.server import kv_cache_bytes


@pytest.mark.parametrize(
    ("measured", "goal", "met"), [(13, "<= 1.3", True), (14, "<= 1.3", False), (8, ">= 0.8", True), (14, "", None)]
)
def test_a_row_is_a_ratio_and_tells_whether_its_goal_is_met(measured, goal, met):
    row = Row("first token", measured, "text", 10, "ms", goal)
    assert row.ratio == pytest.approx(measured / 10)
    assert row.met is met
    assert ("missed" in markdown([row])) == (met is False)


def test_result_is_written_as_json_table_and_drawing(tmp_path):
    rows = [Row("a", 1, "b", 2, "s", "<= 4", {"runs": 3}), Row("c < d", 30, "b", 2, "s", "<= 4")]
    path = save("example", rows, {"cores": 2}, tmp_path / "new")
    result = json.loads(path.read_text())
    assert result["cores"] == 2
    assert result["rows"][0] | {"ratio": 0.5, "met": True, "detail": {"runs": 3}} == result["rows"][0]
    assert path.with_suffix(".md").read_text().count("\n") == 4
    drawing = ElementTree.fromstring(path.with_suffix(".svg").read_text())
    bars = drawing.findall("{*}rect")
    assert [bar.get("class") for bar in bars] == ["met", "missed"]
    # Half and 15 times: the second bar is so much longer as its logarithm is larger.
    widths = [float(bar.get("width")) for bar in bars]
    assert widths[1] / widths[0] == pytest.approx(math.log(15) / math.log(2), rel=0.01)
    assert "c < d" in [text.text for text in drawing.findall("{*}text")]


def test_no_two_questions_share_a_beginning_or_a_picture():
    asked = questions(12, images=True, first=10)
    assert len({question.text.split()[0] for question in asked}) == len({q.image.tobytes() for q in asked}) == 12
    with_image, text = asked[0].messages()[0]["content"], Question("Why?").messages()[0]["content"]
    assert with_image[0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == "Why?"


def test_memory_counts_every_process_below():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = b\"1\" * 64_000_000; print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert 64e6 < tree_memory(process.pid) < 200e6
        process.stdin.close()


def test_weights_that_a_token_reads(tiny_models):
    model = tiny_models["merged"]
    tensors = {name: tensor for file in model.glob("*.safetensors") for name, tensor in load_file(file).items()}
    read = [t for name, t in tensors.items() if name.startswith("language_model.") and "embed_tokens" not in name]
    assert weight_bytes(model) == sum(tensor.nbytes for tensor in read)


def test_a_profile_is_told_by_kind_of_work():
    table = "Name  Self CPU %\n_C::onednn_mm  47.87%  1.0s\naten::mm  2.13%  1s\nexecute_context_0(0)  27.00%  1s\naten::view  3.00%  1s"
    found = {what: share for what, share in shares(table).items() if share}
    assert found == pytest.approx({"matrix products": 0.5, "Python between operators": 0.27, "the rest": 0.03})


def test_kv_cache_is_sized_after_the_model(tiny_models):
    # 4 conversations x 512 tokens x 3 layers x 4 heads x 32 numbers x keys and values x 2 bytes
    assert kv_cache_bytes(tiny_models["merged"]) == 4 * 512 * 3 * 4 * 32 * 2 * 2
    assert kv_cache_bytes(tiny_models["merged"] / "elsewhere") is None


@pytest.mark.parametrize(("bits", "error"), [(8, 0.01), (4, 0.15)])
def test_quantised_weights_are_near_the_originals(tiny_models, tmp_path, bits, error):
    model = tiny_models["merged"]
    out = quantise(model, tmp_path / "small", bits)
    before = {name: tensor for file in model.glob("*.safetensors") for name, tensor in load_file(file).items()}
    after = {name: tensor for file in out.glob("*.safetensors") for name, tensor in load_file(file).items()}
    name = "language_model.model.layers.1.mlp.down_proj"
    weight, scale = before[f"{name}.weight"].float(), after[f"{name}.weight_scale"].float()
    if bits == 8:
        whole, group = after[f"{name}.weight"], weight.shape[1]
    else:
        whole, group = unpack_from_int32(after[f"{name}.weight_packed"], bits, weight.shape), GROUP
    restored = (whole.float().reshape(weight.shape[0], -1, group) * scale[..., None]).reshape(weight.shape)
    assert torch.linalg.norm(restored - weight) < error * torch.linalg.norm(weight)
    untouched = {name for name in before if not name.endswith("_proj.weight")}
    assert all(torch.equal(before[name], after[name]) for name in untouched)
    assert (out / "tokenizer_config.json").is_file()
    with pytest.raises(QuantisationError, match="already"):
        quantise(out, tmp_path / "again", bits)
