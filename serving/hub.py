"""Checkpoints and language models of the Hugging Face Hub, as folders of its cache on this machine.

Only the files that are needed are fetched. Without a network (or with HF_HUB_OFFLINE=1) what the
cache holds is used.

    checkpoint_folder("xmcmic/MedVInT-TD", "VQA_lora_PMC_LLaMA_PMCCLIP/blank/checkpoint-1382")
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from serving.weight_files import PICKLED_FILES, SAFETENSORS_FILES, choose_folder

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SETTINGS = ["*.json", "*.model", "*.jinja", "*.txt"]
_NOTHING = ["-"]


class HubError(Exception):
    """The Hub has no such model, does not give it to this user, or cannot be reached; says which."""


def is_hub_id(source: str | Path) -> bool:
    """Whether it has the form OWNER/NAME and nothing of that name is here."""
    return bool(_HUB_ID.fullmatch(str(source))) and not Path(source).exists()


def checkpoint_folder(repo_id: str, subfolder: str | None = None) -> Path:
    """Fetch one checkpoint of a repository.

    Raises:
        HubError: it cannot be fetched and is not in the cache.
        CheckpointNotFoundError: the repository (or its subfolder) holds none.
        SeveralCheckpointsError: it holds several.
    """
    with _in_words(repo_id):
        names = _names(repo_id)
        folder = PurePosixPath(choose_folder(names, subfolder, repo_id))
        here = {PurePosixPath(name).name for name in names if PurePosixPath(name).parent == folder}
        wanted = [*_weight_patterns(here), "config.json", "adapter_config.json"]
        patterns = [str(folder / pattern) for pattern in wanted]
        return Path(snapshot_download(repo_id, allow_patterns=patterns)) / folder


def language_model_folder(repo_id: str, *, weights: bool) -> Path:
    """Fetch a language model's settings and tokenizer, and with `weights` the rest of it.

    Raises:
        HubError: it cannot be fetched and is not in the cache.
    """
    with _in_words(repo_id):
        patterns = _SETTINGS + (_weight_patterns(set(_names(repo_id))) if weights else [])
        return Path(snapshot_download(repo_id, allow_patterns=patterns, ignore_patterns="*/*"))


def _weight_patterns(names: set[str]) -> list[str]:
    """A repository may hold the same weights twice: safetensors where there are any, no pickles."""
    if names & set(SAFETENSORS_FILES):
        return ["model*.safetensors", SAFETENSORS_FILES[0]]
    return ["pytorch_model*.bin", PICKLED_FILES[0]]


def _names(repo_id: str) -> list[str]:
    """The repository's files; without a network those of the cache."""
    try:
        return HfApi().list_repo_files(repo_id)
    except (OfflineModeIsEnabled, httpx2.TransportError):
        cached = Path(snapshot_download(repo_id, allow_patterns=_NOTHING, local_files_only=True))
        return [path.relative_to(cached).as_posix() for path in cached.rglob("*") if path.is_file()]


@contextmanager
def _in_words(repo_id: str) -> Iterator[None]:
    try:
        yield
    except GatedRepoError as error:
        raise HubError(
            f"{repo_id} is given only to those who accepted its terms: do so on its page on the Hub, then "
            "`hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"There is no file or folder {repo_id} here, and the Hub has no model of that name (or it is private: "
            "`hf auth login`)."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx2.TransportError) as error:
        raise HubError(
            f"{repo_id} is not here, neither as a folder nor whole in the Hub's cache, and the Hub cannot be reached. "
            "Connect this machine to the internet (and unset HF_HUB_OFFLINE), or download it elsewhere and give "
            "the folder."
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise HubError(f"The Hub did not give {repo_id}: {str(error).splitlines()[0]}") from error
