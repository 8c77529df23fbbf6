"""Decoding one answer: bytes of weights that its tokens read, beside what the memory gives; int8 weights beside it.

python -m serving.benchmarks.decoding
python -m serving.benchmarks.decoding --profile      # where the time of a token goes
"""

import json
import re
import statistics
import tempfile
from collections import Counter
from pathlib import Path

import httpx
from safetensors import safe_open

from serving.benchmarks.client import TIMEOUT_S, Question, ask, questions
from serving.benchmarks.measuring import (
    GB,
    BenchmarkError,
    Row,
    Server,
    arguments,
    machine,
    read_bandwidth,
    running_server,
    save,
)
from serving.quantise import quantise

TOKENS = 128
RUNS = 5
KINDS = {
    "matrix products": r"onednn_mm|::mm$|::addmm$|::linear$",
    "attention and KV cache": r"attention|kv_cache|attn|slot_mapping",
    "norms, activations, positions": r"rms_norm|silu|rotary|::pow$|::rsqrt$|::mean$|::mul$",
    "Python between operators": r"^execute_context",
}
"""Operators by their names in the profiler's table, first match; the rest is small copies, views and sampling."""
SIZES = {"F32": 4, "BF16": 2, "F16": 2, "I8": 1, "U8": 1, "I64": 8, "I32": 4, "F8_E4M3": 1}


def weight_bytes(model: Path) -> int:
    """Bytes of the decoder that one token reads: all of it, but of the word embeddings one row.

    Tied embeddings are the output's matrix as well, and read as such.
    """
    config = json.loads((model / "config.json").read_text())
    tied = config.get("text_config", config).get("tie_word_embeddings", False)
    total = 0
    for file in model.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                if not name.startswith(("language_model.", "model.", "lm_head.")):
                    continue
                if ("embed_tokens" in name and not tied) or ("lm_head" in name and tied):
                    continue
                tensor = opened.get_slice(name)
                count = 1
                for length in tensor.get_shape():
                    count *= length
                total += count * SIZES[tensor.get_dtype()]
    return total


def tokens_per_second(server: Server, runs: int, tokens: int) -> float:
    """Median rate of one text answer alone, from its first token to its last."""
    with httpx.Client(base_url=server.base_url, timeout=TIMEOUT_S) as client:
        answers = [ask(client, question, tokens) for question in questions(runs + 1, images=False, first=10)]
    return statistics.median((answer.tokens - 1) / answer.rest_s for answer in answers[1:])


def row(model: Path, rate: float, bandwidth: float, what: str, goal: str) -> Row:
    size = weight_bytes(model)
    detail = {"tokens_per_s": round(rate, 1), "weights_gb": round(size / GB, 3), "ms_per_token": round(1000 / rate, 2)}
    return Row(f"decoding alone, {what}", size * rate / GB, "measured bandwidth", bandwidth / GB, "GB/s", goal, detail)


def int8_row(server: Server, rate: float, runs: int, tokens: int) -> Row:
    """Tokens a second with int8 weights, and how many greedy tokens of short image answers stay the same."""
    with tempfile.TemporaryDirectory() as folder:
        small = quantise(server.model, Path(folder) / "int8", bits=8)
        asked = questions(4 * runs, images=True, first=50_000)
        before = _answers(server, asked)
        with running_server(small) as other:
            faster = tokens_per_second(other, runs, tokens)
            after = _answers(other, asked)
        pairs = list(zip(before, after, strict=True))
        words = [_shared_words(one, two) for one, two in pairs]
        detail = {
            "weights_gb": round(weight_bytes(small) / GB, 3),
            "same_answers": round(statistics.mean(one == two for one, two in pairs), 3),
            "shared_words": round(statistics.mean(words), 3),
            "answers": len(pairs),
        }
    return Row("decoding alone, int8 weights", faster, "bfloat16", rate, "tokens/s", "", detail)


def _answers(server: Server, asked: list[Question]) -> list[str]:
    with httpx.Client(base_url=server.base_url, timeout=TIMEOUT_S) as client:
        return [ask(client, question, 16, ignore_eos=False).text.strip() for question in asked]


def _shared_words(one: str, two: str) -> float:
    """F1 of two answers' words."""
    first, second = Counter(one.lower().split()), Counter(two.lower().split())
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


def profile(model: Path, tokens: int) -> str:
    """Where a token's time goes: the operators of one short answer, by torch's profiler in the engine.

    Raises:
        BenchmarkError: the profiler left nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = json.dumps({"profiler": "torch", "torch_profiler_dir": folder, "torch_profiler_with_stack": False})
        with (
            running_server(model, ["--profiler-config", settings]) as server,
            httpx.Client(base_url=server.base_url, timeout=TIMEOUT_S) as client,
        ):
            ask(client, Question("Warm up."), 8)
            client.post("/start_profile").raise_for_status()
            ask(client, Question("What is a pneumothorax?"), tokens)
            client.post("/stop_profile").raise_for_status()
        tables = [text for file in sorted(Path(folder).glob("*.txt")) if (text := file.read_text().strip())]
        if not tables:
            raise BenchmarkError("The profiler wrote no table.")
        return "\n".join([*tables, *(f"{share:6.1%}  {what}" for what, share in shares(tables[-1]).items())])


def shares(table: str) -> dict[str, float]:
    """Shares of the time by kind of work, of a table that torch's profiler wrote."""
    found = dict.fromkeys([*KINDS, "the rest"], 0.0)
    for name, percent in re.findall(r"^ *(\S+) +([\d.]+)% ", table, re.MULTILINE):
        what = next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), "the rest")
        found[what] += float(percent) / 100
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--profile", action="store_true", help="print the operators of one answer instead")
    options = parser.parse_args()
    runs, tokens = (1, 8) if options.quick else (RUNS, TOKENS)
    if options.profile:
        print(profile(options.model, tokens))
        return
    about = machine()
    bandwidth = read_bandwidth()
    with running_server(options.model) as server:
        rate = tokens_per_second(server, runs, tokens)
        found = [row(options.model, rate, bandwidth, "weights read", ">= 0.8"), int8_row(server, rate, runs, tokens)]
    save("decoding", found, about, options.out)


if __name__ == "__main__":
    main()
