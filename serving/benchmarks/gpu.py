"""The table on a GPU: a random MedVInT-TD of the true 7B shape, made on the machine, and its 8- and 4-bit variants.

    python -m serving.benchmarks.gpu                     # needs 16 GB of disk and a card of 24 GB or more
    python -m serving.benchmarks.gpu --layers 4          # the same with fewer layers
    python -m serving.benchmarks.gpu data/models/demo --quick      # runs through on a CPU, with the demo

Random weights: speed and memory are those of a real model of this shape, answers are noise.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import mistral_common
import torch
from transformers import LlamaConfig

from serving.benchmarks import throughput
from serving.benchmarks.client import ANSWER_TOKENS, TIMEOUT_S, ask, questions
from serving.benchmarks.decoding import row, tokens_per_second
from serving.benchmarks.measuring import (
    GB,
    Row,
    Server,
    arguments,
    copy_bandwidth,
    machine,
    read_bandwidth,
    running_server,
    save,
    tree_memory,
)
from serving.benchmarks.reference import Reference
from serving.decoders import open_decoder
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.medvint.processing import MedVInTImageProcessor
from serving.quantise import Bits, quantise
from serving.server import has_gpu

CONCURRENCY = (1, 8, 64, 256)
# Fixed, so that the memory of the variants can be compared; vLLM would fill the card otherwise.
CACHE = ("--kv-cache-memory-bytes", "4G", "--max-num-seqs", "256")
PARITY_QUESTIONS = 8
WEIGHT_BITS: dict[str, Bits] = {"int8": 8, "4-bit": 4}
PARITY_TOKENS = 16


def random_model(out: Path, layers: int, device: str) -> Path:
    """A MedVInT-TD of the original's shape in bfloat16, but for the number of the decoder's layers."""
    llm = out.with_name("llm")
    llm.mkdir(parents=True)
    text = LlamaConfig(num_hidden_layers=layers, dtype="bfloat16", bos_token_id=1, eos_token_id=2)
    text.save_pretrained(llm)
    # Of the same make and size as LLaMA's tokenizer, which is not to be had without a licence.
    shutil.copy(Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1", llm / "tokenizer.model")
    (llm / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LLaMATokenizer"}))
    config = MedVInTConfig(text_config=text.to_dict(), dtype="bfloat16")
    config.architectures = ["MedVInTForConditionalGeneration"]
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = MedVInTForConditionalGeneration(config).eval()
    torch.set_default_dtype(default)
    model.save_pretrained(out, max_shard_size="2GB")
    del model
    if device == "cuda":
        torch.cuda.empty_cache()
    open_decoder(llm).tokenizer(config.stop_token_id).save_pretrained(out)
    MedVInTImageProcessor(config.vision.image_size).save_pretrained(out)
    return out


def answers(server: Server, number: int, tokens: int) -> list[str]:
    with httpx.Client(base_url=server.base_url, timeout=TIMEOUT_S) as client:
        return [ask(client, question, tokens).text for question in questions(number, images=True)]


def parity_row(served: Sequence[str], reference: Reference, tokens: int) -> Row:
    """Share of answers that are equal to transformers', greedy, both in the number format of the weights."""
    asked = questions(len(served), images=True)
    same = [
        reference.ask(question, tokens).strip() == answer.strip()
        for question, answer in zip(asked, served, strict=True)
    ]
    return Row("answers equal to transformers'", sum(same), "answers", len(same), "", "", {"answer_tokens": tokens})


def used_memory(server: Server) -> float:
    """Bytes in use on the card, the driver's own among them; without a card, of the server's processes."""
    if not has_gpu():
        return tree_memory(server.process.pid)
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    reply = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    return sum(float(line) for line in reply.split()) * 1024**2


def variants(model: Path, folder: Path) -> dict[str, tuple[Path, list[str]]]:
    """Name -> folder and flags; fp8 is vLLM's own, made while it loads, and needs a card."""
    found: dict[str, tuple[Path, list[str]]] = {}
    if has_gpu():
        found["fp8"] = (model, ["--quantization", "fp8"])
    for name, bits in WEIGHT_BITS.items():
        found[name] = (quantise(model, folder / name, bits), [])
    return found


def measure(model: Path, folder: Path, quick: bool) -> list[Row]:
    gpu = has_gpu()
    device = "cuda" if gpu else "cpu"
    tokens, runs, length = (4, 1, 8) if quick else (ANSWER_TOKENS, 5, 128)
    concurrency = (1, 8) if quick else CONCURRENCY
    flags = CACHE if gpu else ()
    bandwidth = copy_bandwidth(device) if gpu else read_bandwidth()
    with running_server(model, flags) as server:
        served = answers(server, 2 if quick else PARITY_QUESTIONS, PARITY_TOKENS)
        loads = throughput.served(server, concurrency, 1 if quick else throughput.ROUNDS, tokens)
        rate = tokens_per_second(server, runs, length)
        memory = used_memory(server)
    reference = Reference(model, device)
    found = [parity_row(served, reference, PARITY_TOKENS)]
    asked = questions(2 if quick else throughput.REFERENCE_QUESTIONS + 1, images=True, first=80_000)
    alone = reference.tokens_per_second(asked, tokens)
    del reference
    if gpu:
        torch.cuda.empty_cache()
    found += throughput.rows(loads, alone, {64: throughput.GOALS[64]})
    found.append(row(model, rate, bandwidth, "weights read", ">= 0.85"))
    for name, (path, more) in variants(model, folder).items():
        with running_server(path, [*flags, *more]) as server:
            other = tokens_per_second(server, runs, length)
            used = used_memory(server)
            same = sum(map(str.__eq__, served, answers(server, len(served), PARITY_TOKENS)))
        detail = {"answers_as_bfloat16": same, "of": len(served)}
        found.append(Row(f"decoding alone, {name}", other, "bfloat16", rate, "tokens/s", "", detail))
        found.append(Row(f"memory in use, {name}", used / GB, "bfloat16", memory / GB, "GB"))
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(model=None)
    parser.add_argument("--layers", type=int, default=32, help="of the random model's decoder; 32 is a 7B")
    options = parser.parse_args()
    about = machine()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out) as name:
        folder = Path(name)
        device = "cuda" if has_gpu() else "cpu"
        model = options.model or random_model(folder / "random", options.layers, device)
        found = measure(model, folder, options.quick)
    save("gpu", found, about | {"layers": None if options.model else options.layers}, options.out)


if __name__ == "__main__":
    main()
