"""The files of a checkpoint, and its tensors one at a time: nothing in a file is ever run.

files = find_weights(Path("MedVInT-TD"), "VQA_lora_PMC_LLaMA_PMCCLIP/blank/checkpoint-1382")
tensors = open_tensors(files)
tensors["fc_l1.weight"].shape, tensors["fc_l1.weight"].read()
"""

import json
import pickle
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

SAFETENSORS_FILES = ("model.safetensors.index.json", "model.safetensors")
PICKLED_FILES = ("pytorch_model.bin.index.json", "pytorch_model.bin")
# The first one that is there is taken.
ENTRY_FILES = (SAFETENSORS_FILES[0], PICKLED_FILES[0], SAFETENSORS_FILES[1], PICKLED_FILES[1])
NESTED_LEVELS = 4
# After this much a mapped file is mapped anew, since pages that were read count as resident memory.
REMAP_BYTES = 1 << 30
_LFS_POINTER = b"version https://git-lfs"
# What torch.load raises for bytes that are no checkpoint, besides refusing a pickle that would run code.
_NO_CHECKPOINT = (
    pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError, LookupError, AttributeError, TypeError,
    AssertionError, struct.error,
)  # fmt: skip


class ConversionError(Exception):
    """The files do not make a MedVInT-TD; the message says which part and what it probably means."""


class CheckpointNotFoundError(ConversionError):
    """There is no checkpoint at the path."""


class SeveralCheckpointsError(ConversionError):
    """A folder or a Hub repository holds more than one; the message lists them."""


class UnsafeCheckpointError(ConversionError):
    """The file is a pickle that would run code, or is no checkpoint at all; nothing of it was run."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is read only when it is called for."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], torch.Tensor]

    @classmethod
    def held(cls, tensor: torch.Tensor) -> "StoredTensor":
        """One that is in memory already."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def choose_folder(names: Iterable[str], subfolder: str | None, where: str) -> str:
    """The folder of the one checkpoint among the files of a folder or repository.

    Args:
        names: POSIX paths, relative to `where`.
        subfolder: only what is in it counts.
        where: how messages call the whole.

    Raises:
        CheckpointNotFoundError: none is there.
        SeveralCheckpointsError: several are, none of them at the top.
    """
    top = str(PurePosixPath(subfolder or "."))
    folders = {PurePosixPath(name).parent for name in names if PurePosixPath(name).name in ENTRY_FILES}
    inside = sorted(str(folder) for folder in folders if folder.is_relative_to(top))
    if top in inside:
        return top
    if len(inside) > 1:
        raise SeveralCheckpointsError(
            f"{where} holds {len(inside)} checkpoints: {', '.join(inside)}. Choose one with --subfolder."
        )
    if not inside:
        other = f" It holds {', '.join(sorted(map(str, folders)))}." if folders else ""
        place = f"{where}/{subfolder}" if subfolder else where
        raise CheckpointNotFoundError(
            f"{place} holds no model.safetensors, pytorch_model.bin or index of shards.{other}"
        )
    return inside[0]


def find_weights(source: Path, subfolder: str | None = None) -> list[Path]:
    """The files that hold the tensors: of a file, an index of shards, or a folder, whatever its layout.

    Raises:
        CheckpointNotFoundError: there is none, or shards that the index names are absent.
        SeveralCheckpointsError: the folder holds several, in folders of its own.
        UnsafeCheckpointError: the index names files outside its folder, or is none.
    """
    if source.is_dir():
        levels = ["*/" * level for level in range(NESTED_LEVELS + 1)]
        found = (path for level in levels for file in ENTRY_FILES for path in source.glob(level + file))
        names = [path.relative_to(source).as_posix() for path in found]
        folder = source / choose_folder(names, subfolder, str(source))
        return find_weights(next(folder / name for name in ENTRY_FILES if (folder / name).is_file()))
    if not source.is_file():
        raise CheckpointNotFoundError(f"There is no checkpoint at {source}.")
    return _shards(source) if source.name.endswith(".index.json") else [source]


def _shards(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text())["weight_map"].values())
        paths = {name: PurePosixPath(name) for name in names}
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise UnsafeCheckpointError(f"{index.name} is not an index of shards.") from error
    outside = sorted(name for name, path in paths.items() if len(path.parts) != 1 or path.name == "..")
    if outside:
        raise UnsafeCheckpointError(f"{index.name} names files outside its folder: {', '.join(outside)}.")
    absent = sorted(name for name in names if not (index.parent / name).is_file())
    if absent:
        raise CheckpointNotFoundError(f"{index.name} names shards that are not there: {', '.join(absent)}.")
    return [index.parent / name for name in sorted(names)]


def open_tensors(files: Iterable[Path]) -> dict[str, StoredTensor]:
    """Every tensor of the files by its name.

    Raises:
        UnsafeCheckpointError: a file is damaged, a pickle that carries code, or holds something besides tensors.
        ConversionError: two files hold a tensor of the same name.
    """
    found: dict[str, StoredTensor] = {}
    for file in files:
        for name, tensor in (_safetensors(file) if file.suffix == ".safetensors" else _pickled(file)).items():
            if name in found:
                raise ConversionError(f"Two files hold the tensor {name}.")
            found[name] = tensor
    return found


def _safetensors(file: Path) -> dict[str, StoredTensor]:
    def read(name: str) -> torch.Tensor:
        with safe_open(file, "pt") as opened:
            return opened.get_tensor(name)

    try:
        with safe_open(file, "pt") as opened:
            kinds = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _damaged(file) from error
    return {name: StoredTensor(tuple(t.shape), t.dtype, partial(read, name)) for name, t in kinds.items()}


def _pickled(file: Path) -> dict[str, StoredTensor]:
    opened = _PickledFile(file)
    return {
        name: StoredTensor(tuple(tensor.shape), tensor.dtype, partial(opened.read, name))
        for name, tensor in opened.state().items()
    }


class _PickledFile:
    """A `torch.save` file, mapped; mapped anew from time to time, so that few of its pages stay resident."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._state: dict[str, torch.Tensor] | None = None
        self._mapped = True
        self._bytes_read = 0

    def state(self) -> dict[str, torch.Tensor]:
        if self._state is None:
            self._state = self._load()
            self._bytes_read = 0
        return self._state

    def read(self, name: str) -> torch.Tensor:
        if self._mapped and self._bytes_read > REMAP_BYTES:
            self._state = None
        tensor = self.state()[name].detach()
        self._bytes_read += tensor.nbytes
        return tensor

    def _load(self) -> dict[str, torch.Tensor]:
        try:
            try:
                state = torch.load(self._file, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # torch before 1.6 wrote files that cannot be mapped
                state = torch.load(self._file, map_location="cpu", weights_only=True)
                self._mapped = False
        except _NO_CHECKPOINT as error:
            raise _damaged(self._file) from error
        state = _unwrapped(state)
        if not isinstance(state, dict) or not all(
            isinstance(name, str) and _is_plain(value) for name, value in state.items()
        ):
            raise UnsafeCheckpointError(
                f"{self._file.name} is not a state dict: names and dense tensors, nothing else."
            )
        return state


def _unwrapped(state: Any) -> Any:
    """The state dict, where a training loop saved it beside its own state."""
    if isinstance(state, dict):
        return next(
            (state[key] for key in ("state_dict", "module", "model") if isinstance(state.get(key), dict)), state
        )
    return state


def _is_plain(value: Any) -> bool:
    """A dense tensor that has its numbers (one saved from the device "meta" has none)."""
    return isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _damaged(file: Path) -> UnsafeCheckpointError:
    with file.open("rb") as opened:
        pointer = opened.read(len(_LFS_POINTER)) == _LFS_POINTER
    why = (
        "it is the pointer that Git LFS leaves in place of a file (git lfs pull fetches it)"
        if pointer
        else "it is damaged or incomplete, or a pickle that carries code"
    )
    return UnsafeCheckpointError(f"{file.name} is not a plain checkpoint of tensors: {why}. Nothing of it was run.")
