"""The original MedVInT-TD on small random checkpoints: its greedy tokens and log-probabilities.

Runs where the original runs, without this project: Python 3.11 with transformers 4.28.1, peft 0.2.0,
torch, torchvision, sentencepiece, einops, pandas, opencv-python-headless. `REPOSITORY` is a checkout of
github.com/xiaoman-zhang/PMC-VQA, `FOLDER` what `python -m tests.serving.variants FOLDER` wrote.

    python tests/serving/reference/run_original.py REPOSITORY FOLDER
"""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

import peft
import torch
import transformers

TOKENS = 12
OUT = Path(__file__).parent


def resized(function, sizes):
    """A function with other sizes in the place of those that are written in it."""
    code = function.__code__
    function.__code__ = code.replace(co_consts=tuple(sizes.get(c, c) if type(c) is int else c for c in code.co_consts))


def build(folder: Path, variant: dict) -> torch.nn.Module:
    """The original's module in the variant's size, with its checkpoint, strictly loaded."""
    vision, projector = variant["vision"], variant["projector"]
    name = "models.QA_model_mlp" if projector.get("kind") == "mlp" else "models.QA_model"
    sys.modules.pop(name, None)  # its sizes may have been replaced already
    module: ModuleType = importlib.import_module(name)
    llama = transformers.LlamaConfig.from_pretrained(folder.parent / "llm")
    if vision.get("kind") == "clip":
        resized(module.QA_model.__init__, {768: vision["hidden_size"], 1024: projector.get("intermediate_size")})
        tower = {key: value for key, value in vision.items() if key != "kind"}
    else:
        width = vision["width"] * 4 * 2 ** (len(vision["layers"]) - 1)
        resized(module.QA_model.__init__, {1024: width})
        tower = {}
        module.PMC_CLIP_cfg.layers, module.PMC_CLIP_cfg.width = [*vision["layers"], 1], vision["width"]
        # The tower's weights are in the checkpoint too.
        module.QA_model.vision_load_pretrain = lambda self, resnet, path: resnet
    clip_config = transformers.CLIPVisionConfig
    arguments = SimpleNamespace(
        Vision_module=variant["vision_module"],
        H=projector.get("num_heads"), N=projector.get("num_layers"), img_token_num=projector.get("num_queries"),
        hidden_dim=llama.hidden_size, voc_size=llama.vocab_size, visual_model_path="", model_path="",
        checkpointing=False, is_lora=True, peft_mode="lora", lora_rank=8,
    )  # fmt: skip
    with (
        mock.patch.object(
            transformers.LlamaForCausalLM, "from_pretrained", lambda path: transformers.LlamaForCausalLM(llama)
        ),
        mock.patch.object(
            transformers.CLIPVisionModel,
            "from_pretrained",
            lambda path, **given: transformers.CLIPVisionModel(clip_config(**tower)),
        ),
        mock.patch.object(module, "CLIPVisionConfig", lambda **given: clip_config(**tower | given)),
    ):
        model = module.QA_model(arguments)
    model.load_state_dict(torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True))
    return model.eval().float()


@torch.no_grad()
def answer(model, tokenizer, sample: dict) -> dict:
    """Greedy tokens, one forward of the original each, without its cache."""
    ids = tokenizer(sample["input_ids"], return_tensors="pt")["input_ids"]
    image = sample["images"][None]
    tokens, logprobs, margins, letters = [], [], [], {}
    for _ in range(TOKENS):
        prompt = torch.cat([ids, torch.tensor([tokens], dtype=torch.long)], 1)
        last = model.generate(prompt, image)[0, -1].log_softmax(-1)
        best = last.topk(2)
        tokens.append(best.indices[0].item())
        logprobs.append(round(best.values[0].item(), 6))
        margins.append(round((best.values[0] - best.values[1]).item(), 6))
        if not letters:
            letter_ids = {letter: tokenizer.convert_tokens_to_ids("▁" + letter) for letter in "ABCD"}
            letters = {letter: round(last[i].item(), 6) for letter, i in letter_ids.items()}
    own = model.generate_long_sentence(ids, image)[0, 1 : TOKENS + 1].tolist()  # behind the <s> that it puts first
    if own != tokens[: len(own)]:
        raise SystemExit(f"The original's own generation gives {own}, not {tokens}.")
    return {
        "prompt": sample["input_ids"],
        "picture": int(Path(sample["img_path"]).stem),
        "prompt_ids": ids[0].tolist(),
        "tokens": tokens,
        "logprobs": logprobs,
        "margins": margins,
        "letters": letters,
    }


def main(repository: Path, folder: Path) -> None:
    sys.path.insert(0, str(repository / "src" / "MedVInT_TD"))
    # The released checkpoints have the names of a PEFT between 0.2.0 and 0.3.0, which knew LLaMA already.
    peft.mapping.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.setdefault("llama", ["q_proj", "v_proj"])
    from Dataset.PMC_QA_Dataset import PMC_QA_Dataset

    paths = f"{folder / 'images'}/", str(folder / "questions.csv"), str(folder / "llm")
    versions = {each.__name__: each.__version__ for each in (torch, transformers, peft)}
    for described in sorted(folder.glob("*/variant.json")):
        variant = json.loads(described.read_text())
        model = build(described.parent, variant)
        cases = []
        for form in ("blank", "choice"):
            data = PMC_QA_Dataset(*paths, mode="Test", text_type=form)
            cases += [{"form": form} | answer(model, data.tokenizer, data[row]) for row in range(len(data))]
        lines = ",\n  ".join(json.dumps(case) for case in cases)
        head = json.dumps({"versions": versions, "weights": variant["weights"]})[1:-1]
        (OUT / f"{described.parent.name}.json").write_text(f'{{{head}, "cases": [\n  {lines}\n]}}\n')
        print(described.parent.name, min(min(case["margins"]) for case in cases))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
