"""The folder that a conversion makes: whole, or not there.

with new_folder(Path("models/medvint"), needed_bytes=13_500_000_000) as folder:
    write_weights(weights, torch.float16, folder, lambda share: None)
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from serving.weight_files import ConversionError, StoredTensor

SHARD_BYTES = 1 << 30
# Tokenizer, settings and the file system's own share.
SPARE_BYTES = 64 << 20
_GB = 1e9


class OutputExistsError(ConversionError):
    """Something is at the place where the converted folder should go, or another run is making it."""


class WriteError(ConversionError):
    """The folder cannot be written: most often the disk is full. Nothing of it is left."""


class PrecisionError(ConversionError):
    """A weight is too large for the number format that was asked for."""


@contextmanager
def new_folder(out: Path, needed_bytes: int) -> Iterator[Path]:
    """A hidden folder beside `out`; it becomes `out` at the end, and is removed after any error or interruption.

    What a killed run left is removed by the next run to the same place.

    Raises:
        OutputExistsError: `out` is there already, or another run is making it.
        WriteError: the disk has less than `needed_bytes`, or writing failed.
    """
    if out.exists():
        raise OutputExistsError(f"{out} exists already.")
    existing = next(parent for parent in out.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes + SPARE_BYTES:
        raise WriteError(
            f"The converted model takes {needed_bytes / _GB:.1f} GB; {free / _GB:.1f} GB are free on the disk of "
            f"{existing}. Free some space, or choose a folder on another disk. Nothing was written."
        )
    unfinished = out.with_name(f".{out.name}.unfinished")
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{out} cannot be made: {error.strerror}.") from error
    lock = os.open(unfinished, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputExistsError(f"Another run is making {out} at this moment.") from error
        try:
            _empty(unfinished)
            yield unfinished
            unfinished.rename(out)
        except BaseException as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            if isinstance(error, OSError | SafetensorError):
                raise WriteError(f"{out} could not be written: {_reason(error)}. Nothing of it was left.") from error
            raise
    finally:
        os.close(lock)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _reason(error: OSError | SafetensorError) -> str:
    full = os.strerror(errno.ENOSPC)
    if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or full in str(error):
        return "the disk is full"
    return getattr(error, "strerror", None) or str(error)


def plan_shards(sizes: Mapping[str, int]) -> list[list[str]]:
    """Names in shards of about 1 GiB, so that memory stays near that; in the order in which files hold them."""
    shards: list[list[str]] = [[]]
    size = 0
    for name in sizes:
        if shards[-1] and size + sizes[name] > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += sizes[name]
    return shards


def output_sizes(weights: Mapping[str, StoredTensor], dtype: torch.dtype) -> dict[str, int]:
    """Bytes of every tensor as it will be written."""
    return {name: torch.Size(tensor.shape).numel() * dtype.itemsize for name, tensor in weights.items()}


def write_weights(
    weights: Mapping[str, StoredTensor], dtype: torch.dtype, folder: Path, tell: Callable[[float], None]
) -> None:
    """`model.safetensors`, or shards of it with an index.

    Raises:
        PrecisionError: a weight does not fit `dtype`.
        SafetensorError, OSError: the disk is full, or the like.
    """
    sizes = output_sizes(weights, dtype)
    shards = plan_shards(sizes)
    weight_map: dict[str, str] = {}
    done = 0
    for number, names in enumerate(shards, start=1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        batch: dict[str, torch.Tensor] = {}
        for name in names:
            batch[name] = _cast(name, weights[name].read(), dtype, batch)
            done += sizes[name]
            tell(done / sum(sizes.values()))
        save_file(batch, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _cast(name: str, tensor: torch.Tensor, dtype: torch.dtype, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """In `dtype`; a copy only where there must be one, since most tensors are written as they lie in the file."""
    cast = tensor.to(dtype).contiguous()
    if cast.dtype != tensor.dtype and not bool(cast.isfinite().all()) and bool(tensor.isfinite().all()):
        raise PrecisionError(
            f"{name} has values up to {tensor.abs().max().item():.3g}, which {str(dtype).removeprefix('torch.')} "
            "cannot hold; choose bfloat16 or float32."
        )
    shared = any(cast.untyped_storage().data_ptr() == other.untyped_storage().data_ptr() for other in batch.values())
    return cast.clone() if shared else cast
