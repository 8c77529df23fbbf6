"""Memory and speed of `medvint convert`, beside a plain copy of the same file.

A random checkpoint of the true shape (7B, 13.5 GB in float16, three times that of free disk) or, with
`--layers`, of fewer decoder layers. Source and results are read from and written to the disk itself: the
page cache is emptied of them before, and the time ends when everything is written. LoRA is merged.

    python -m serving.benchmarks.conversion --layers 4
    python -m serving.benchmarks.conversion             # the whole 7B
    python -m serving.benchmarks.conversion --shards 2  # the same in two files and an index
"""

import argparse
import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import mistral_common
import psutil
import torch
from transformers import LlamaConfig

from serving.benchmarks.measuring import GB, RESULTS, BenchmarkError, Row, machine, save
from serving.medvint.configuration import MedVInTConfig
from serving.medvint.modeling import MedVInTForConditionalGeneration
from serving.original_keys import TOWER_CHILDREN

LLAMA_7B = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32}
LORA_RANK = 8
RANDOM_NUMBERS = 1 << 24
SAMPLE_S = 0.02
MOST_MEMORY_GB = 6.0
_CONVERT = """
import json, sys, time
from pathlib import Path
from serving.checkpoints import convert
start = time.perf_counter()
convert(*map(Path, sys.argv[1:4]))
print(json.dumps(time.perf_counter() - start))
"""


def original_shapes(config: MedVInTConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the original's state dict, LoRA in the naming of old PEFT."""
    children = {ours: number for number, ours in TOWER_CHILDREN.items()}
    with torch.device("meta"):
        state = MedVInTForConditionalGeneration(config).state_dict()
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in state.items():
        part, rest = name.split(".", 1)
        if part == "vision_tower":
            child, rest = rest.split(".", 1)
            name = f"vision_model.{children[child]}.{rest}"
        elif part == "projector":
            name = f"decoder.{rest}" if rest.startswith(("layers.", "norm.")) else rest
        else:
            name = f"llamacasual.base_model.model.{rest}"
            if rest.endswith(("q_proj.weight", "v_proj.weight")):
                module = name.removesuffix(".weight")
                shapes[f"{module}.lora_A.weight"] = (LORA_RANK, tensor.shape[1])
                shapes[f"{module}.lora_B.weight"] = (tensor.shape[0], LORA_RANK)
        shapes[name] = tuple(tensor.shape)
    return shapes


def write_checkpoint(folder: Path, shapes: dict[str, tuple[int, ...]], shards: int) -> list[Path]:
    """`pytorch_model.bin`, or shards of it with an index, of random float16; the files of tensors."""
    if shards == 1:
        files = [folder / "pytorch_model.bin"]
        write_tensors(files[0], shapes)
        return files
    names = list(shapes)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        write_tensors(folder / file, {name: shapes[name] for name in part})
        weight_map |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return sorted(folder.glob("*.bin"))


def write_tensors(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A `torch.save` file of random float16, made in place so that it need not fit the memory."""
    with torch.serialization.skip_data():  # memory that is not touched is not taken
        torch.save({name: torch.empty(shape, dtype=torch.float16) for name, shape in shapes.items()}, file)
    numbers = torch.randn(RANDOM_NUMBERS, generator=torch.Generator().manual_seed(0)).mul_(0.02).half()
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        for tensor in torch.load(file, weights_only=True, mmap=True, map_location="cpu").values():
            for part in tensor.view(-1).split(RANDOM_NUMBERS):
                part.copy_(numbers[: len(part)])


def write_language_model(folder: Path, config: LlamaConfig) -> None:
    """Configuration and a tokenizer of LLaMA's make and size, without weights."""
    config.save_pretrained(folder)
    shutil.copy(Path(mistral_common.__file__).parent / "data" / "tokenizer.model.v1", folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LLaMATokenizer"}))


class PeakMemory(threading.Thread):
    """Samples a process's resident memory: all of it, and without the pages of mapped files; in bytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self.total = self.anonymous = 0

    def run(self) -> None:
        while True:
            try:
                lines = self._status.read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                return
            fields = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmHWM", "RssAnon"))}
            if not fields:  # it has ended and is not waited for yet
                return
            self.total = max(self.total, int(fields["VmHWM"]) << 10)
            self.anonymous = max(self.anonymous, int(fields["RssAnon"]) << 10)
            time.sleep(SAMPLE_S)


def seconds_to_disk(work: Callable[[], None], read: Iterable[Path], written: Callable[[], Iterable[Path]]) -> float:
    """From a source that is not in the page cache until the results are on the disk."""
    for file in read:
        with file.open("rb") as source:
            os.fsync(source.fileno())
            os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    work()
    for file in written():
        with file.open("rb") as result:
            os.fsync(result.fileno())
    return time.perf_counter() - start


def measure(folder: Path, layers: int, shards: int = 1) -> Row:
    """Make, copy, convert and copy again one checkpoint in `folder`; the copies' mean is what is compared.

    Raises:
        BenchmarkError: the disk is too small, or the conversion failed.
    """
    config = MedVInTConfig(text_config=LLAMA_7B | {"num_hidden_layers": layers})
    shapes = original_shapes(config)
    size = sum(torch.Size(shape).numel() for shape in shapes.values()) * torch.float16.itemsize
    free = shutil.disk_usage(folder).free
    if free < 2.2 * size:
        raise BenchmarkError(f"{2.2 * size / GB:.0f} GB of free disk are needed, {free / GB:.0f} GB are there.")
    llm, source, copied, out = (folder / name for name in ("llm", "source", "copy", "converted"))
    write_language_model(llm, config.text_config)
    source.mkdir()
    files = write_checkpoint(source, shapes, shards)
    copy_s, copy_cpu_s = [], []
    memory: list[PeakMemory] = []
    inside: list[float] = []

    def copy() -> None:
        before = psutil.Process().cpu_times()
        copy_s.append(seconds_to_disk(lambda: _copy(files, copied), files, copied.iterdir))
        after = psutil.Process().cpu_times()
        copy_cpu_s.append(after.user + after.system - before.user - before.system)
        shutil.rmtree(copied)

    def convert() -> None:
        command = [sys.executable, "-c", _CONVERT, str(source), str(llm), str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            memory.append(PeakMemory(process.pid))
            memory[0].start()
            told = process.communicate()[0]
        if process.returncode:
            raise BenchmarkError("The conversion failed; what it said is above.")
        inside.append(json.loads(told.splitlines()[-1]))

    copy()
    convert_s = seconds_to_disk(convert, files, lambda: out.glob("*.safetensors"))
    children = psutil.Process().cpu_times()
    shutil.rmtree(out)
    copy()
    detail = {
        "checkpoint_gb": round(size / GB, 2),
        "layers": layers,
        "shards": shards,
        "without_imports_s": round(inside[0], 1),
        "cpu_s": round(children.children_user + children.children_system, 1),
        "copies_s": [round(seconds, 1) for seconds in copy_s],
        "copy_cpu_s": round(statistics.mean(copy_cpu_s), 1),
        "peak_rss_gb": round(memory[0].total / GB, 2),
        "peak_anonymous_gb": round(memory[0].anonymous / GB, 2),
        "within_6_gb": memory[0].total / GB < MOST_MEMORY_GB,
    }
    mean = statistics.mean(copy_s)
    return Row("medvint convert, whole process", convert_s, "copy of the checkpoint", mean, "s", detail=detail)


def _copy(files: Iterable[Path], folder: Path) -> None:
    folder.mkdir()
    for file in files:
        with file.open("rb") as read, (folder / file.name).open("wb") as write:
            shutil.copyfileobj(read, write, 1 << 24)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=32, help="decoder layers; the original has 32")
    parser.add_argument("--shards", type=int, default=1, help="files of the checkpoint (1)")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure; emptied afterwards (.)")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"where the result goes ({RESULTS})")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix=".conversion-") as folder:
        row = measure(Path(folder), arguments.layers, arguments.shards)
    save("conversion", [row], machine(), arguments.out)
    print(json.dumps(row.detail, indent=2))


if __name__ == "__main__":
    main()
