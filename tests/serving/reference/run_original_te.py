"""The original MedVInT-TE on small random checkpoints: its log-probabilities at the answers' positions.

Runs where the original runs, without this project: Python 3.11 with transformers 4.28.1, accelerate 0.20, torch,
torchvision, sentencepiece, einops, pandas, opencv-python-headless; PEFT is the copy that the original brings.
`REPOSITORY` is a checkout of github.com/xiaoman-zhang/PMC-VQA, `FOLDER` what
`python -m tests.serving.te_variants FOLDER` wrote.

    python tests/serving/reference/run_original_te.py REPOSITORY FOLDER
"""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
import transformers
from torchvision import transforms

BEST = 5
OUT = Path(__file__).parent


def resized(function, sizes):
    """A function with other numbers in the place of those that are written in it."""
    code = function.__code__
    function.__code__ = code.replace(
        co_consts=tuple(sizes.get(c, c) if type(c) in (int, tuple) else c for c in code.co_consts)
    )


def build(folder: Path, variant: dict) -> torch.nn.Module:
    """The original's module in the variant's size, with its checkpoint, strictly loaded."""
    for name in [name for name in sys.modules if name.startswith("models")]:
        del sys.modules[name]  # its sizes may have been replaced already
    module = importlib.import_module("models.llama.vqa_model")
    vision, text, width = variant["vision"], variant["text"], variant["embed_dim"]
    sizes = {768: width, 4096: text["hidden_size"], 12: 2}
    if variant["image_encoder"] == "PMC_CLIP":
        sizes[2048] = vision["width"] * 32
        pmc_clip = sys.modules["models.pmc_oa.pmc_clip"]
        resized(pmc_clip.PMC_CLIP.__init__, {(3, 4, 6, 3): tuple(vision["layers"])})
        pmc_clip.CLIPVisionCfg.width = vision["width"]
    resized(module.Binary_VQA_Model.__init__, sizes)
    module.CLIPTextCfg.width, module.CLIPTextCfg.fusion_layers = width, variant["fusion_layers"]
    fields = {key: value for key, value in text.items() if key != "model_type"}
    if text["model_type"] == "bert":
        encoder = transformers.BertModel(transformers.BertConfig(**fields))
    else:
        encoder = transformers.LlamaModel(transformers.LlamaConfig(**fields))
    tower = {key: value for key, value in vision.items() if key != "kind"}
    clip = transformers.CLIPVisionModel
    arguments = SimpleNamespace(
        embed_dim=width, pretrained_tokenizer=str(folder.parent / "llama"), pretrained_model="",
        image_encoder=variant["image_encoder"], pmcclip_pretrained="", clip_pretrained=variant["clip_pretrained"],
    )  # fmt: skip
    empty = {"state_dict": {"module.visual.attnpool.positional_embedding": None}}
    with (
        mock.patch.object(transformers.LlamaModel, "from_pretrained", lambda path: encoder),
        mock.patch.object(module, "CLIPVisionConfig", lambda **given: transformers.CLIPVisionConfig(**tower)),
        mock.patch.object(clip, "from_pretrained", lambda *path: clip(transformers.CLIPVisionConfig(**tower))),
        mock.patch.object(torch, "load", lambda path: empty),  # the tower's weights are in the checkpoint too
    ):
        model = module.Binary_VQA_Model(arguments)
    stored = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    # Buffers that follow from the configuration.
    stored |= {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.endswith((".position_ids", ".inv_freq")) and name not in stored
    }
    model.load_state_dict(stored)
    return model.eval().float()


@torch.no_grad()
def answer(model, sample: dict) -> dict:
    """What it finds most probable where the label has an answer; the first label is `<s>`, the last the end."""
    ids, mask, label = (sample[key][0] for key in ("encoded_input_ids", "encoded_attention_mask", "label"))
    found = model(sample["image"][None], ids[None], mask[None])[0]
    best = found[label != 0][1:-1].topk(BEST)
    return {
        "input_ids": ids[: mask.sum()].tolist(),
        "positions": (label != 0).nonzero()[1:-1, 0].tolist(),
        "answer_ids": label[label != 0][1:-1].tolist(),
        "tokens": best.indices.tolist(),
        "logprobs": [[round(value, 6) for value in row] for row in best.values.tolist()],
    }


def main(repository: Path, folder: Path) -> None:
    sys.path.insert(0, str(repository / "src" / "MedVInT_TE"))
    from dataset.dataset import Binary_VQA_Dataset

    normal = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    square = transforms.Resize((512, 512), transforms.InterpolationMode.BICUBIC)
    versions = {each.__name__: each.__version__ for each in (torch, transformers)}
    llama_tokenizer = transformers.LlamaTokenizer.from_pretrained
    for described in sorted(folder.glob("*/variant.json")):
        variant = json.loads(described.read_text())
        model = build(described.parent, variant)
        cases = []
        for form in ("blank", "choice"):
            tokenizer = str(folder / "llama")
            with mock.patch.object(
                transformers.LlamaTokenizer, "from_pretrained", lambda path, known=tokenizer: llama_tokenizer(known)
            ):
                data = Binary_VQA_Dataset(
                    str(folder / "questions.csv"), str(folder / "images"), 512, is_blank=form == "blank", is_train=False
                )
            # The original's own test changes every picture at random.
            data.transform = transforms.Compose([square, transforms.ToTensor(), normal])
            for row in range(len(data)):
                sample = data[row]
                told = {"form": form, "question": str(data.question_list[row])}
                told |= {"choices": [str(choice) for choice in data.choice_list[row]]}
                told |= {"answer": str(data.answer_list[row]), "letter": str(data.answer_label_list[row])}
                told |= {"picture": int(Path(sample["image_path"]).stem)}
                cases.append(told | answer(model, sample))
        lines = ",\n  ".join(json.dumps(case) for case in cases)
        head = json.dumps({"versions": versions, "weights": variant["weights"]})[1:-1]
        (OUT / f"{described.parent.name}.json").write_text(f'{{{head}, "cases": [\n  {lines}\n]}}\n')
        print(described.parent.name, [case["tokens"][0][0] for case in cases])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
