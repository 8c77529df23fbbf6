"""Every benchmark that can be run, by name.

benchmark = find_benchmark("pmc-vqa-choice")
rows = benchmark.read(Path("PMC-VQA"), benchmark.split)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from serving.evaluation.benchmarks import VQA_RAD_FILE, BenchmarkError, VqaRow, slake_rows, vqa_rad_rows
from serving.evaluation.image_sets import HELD_OUT, chest_film_rows, modality_rows
from serving.evaluation.own_rows import own_file, own_rows
from serving.evaluation.pmc_vqa import pmc_vqa_rows


@dataclass(frozen=True)
class Benchmark:
    """`split` is what is meant where none is named; `train` holds the answers that the majority baseline knows.

    `file` holds the questions of a split; it is a folder where they come from several sets.
    """

    name: str
    read: Callable[[Path, str], list[VqaRow]]
    file: Callable[[Path, str], Path]
    split: str
    about: str

    def train(self, split: str) -> str:
        """The training split that belongs to `split`: version 2 of PMC-VQA has its own."""
        return "train_2" if split == "test_2" else "train"


def _vqa_rad_file(folder: Path, split: str) -> Path:
    separate = folder / ("test.json" if split == "test" else "train.json")
    return separate if separate.is_file() else folder / VQA_RAD_FILE


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "slake",
            slake_rows,
            lambda folder, split: folder / f"{split}.json",
            "validate",
            "SLAKE, English rows: splits train, validate, test.",
        ),
        Benchmark(
            "vqa-rad",
            vqa_rad_rows,
            _vqa_rad_file,
            "validate",
            "VQA-RAD: splits train and validate (its training rows, split by image), test.",
        ),
        Benchmark(
            "pmc-vqa-choice",
            partial(pmc_vqa_rows, choices_shown=True),
            lambda folder, split: folder / f"{split}.csv",
            "test_clean",
            "PMC-VQA, choices shown: splits test_clean (2,000), test (50,000), test_2 (version 2).",
        ),
        Benchmark(
            "pmc-vqa-blank",
            partial(pmc_vqa_rows, choices_shown=False),
            lambda folder, split: folder / f"{split}.csv",
            "test_clean",
            "PMC-VQA, without choices: the same splits.",
        ),
        Benchmark(
            "modality",
            modality_rows,
            lambda folder, split: folder,
            HELD_OUT,
            "By what each image of all sets was taken; PATH holds the sets side by side. Splits held-out and train.",
        ),
        Benchmark(
            "chest-films",
            chest_film_rows,
            lambda folder, split: folder,
            HELD_OUT,
            "Is the chest film normal? PATH holds the image sets side by side. Splits held-out and train.",
        ),
        Benchmark("own", own_rows, own_file, "test", "Your own CSV: image, question, answer, perhaps choices."),
    )
}


def find_benchmark(name: str) -> Benchmark:
    """Raises BenchmarkError with the names that there are."""
    if name not in BENCHMARKS:
        raise BenchmarkError(f"There is no benchmark named {name!r}; there are {', '.join(BENCHMARKS)}.")
    return BENCHMARKS[name]
