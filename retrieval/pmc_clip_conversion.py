"""From the files that PMC-CLIP's authors released to one folder of safetensors that `PmcClipEmbedder` opens.

    convert_pmc_clip("pmc_oa/checkpoint.pt", Path("data/models/pmc-clip"))
    convert_pmc_clip("pmc_oa", Path("data/models/pmc-clip"), text_model="PubMedBERT")    # a folder, no network

Released are `checkpoint.pt` of the training and, split, image encoder, text encoder and text projection. Neither
carries BERT's configuration and vocabulary: those are PubMedBERT's. Nothing in a file is run; every tensor is
used, or named in `sources.json`.
"""

import hashlib
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer, BertConfig, PreTrainedTokenizerBase

from retrieval.pmc_clip import TOWER_STRIDE, PmcClip
from retrieval.pmc_clip_config import CONTEXT_LENGTH, PmcClipConfig
from serving import hub
from serving.checkpoint_fit import MissingKeysError, ShapeError, UnknownKeysError, listed
from serving.checkpoints import SOURCES, Progress
from serving.converted_folder import OutputExistsError, new_folder, output_sizes, write_weights
from serving.weight_files import (
    CheckpointNotFoundError,
    ConversionError,
    StoredTensor,
    UnsafeCheckpointError,
    open_tensors,
)

PUBMEDBERT = "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext"
PUBMEDBERT_CLS = 2
"""The id of [CLS]; in the vocabularies of other BERTs, as large as PubMedBERT's, it is another."""

WHOLE_FILE = "checkpoint.pt"
IMAGE_FILE, TEXT_FILE, PROJECTION_FILE = "image_encoder(resnet50).pth", "text_encoder.pth", "text_projection_layer.pth"
SPLIT_FILES = (IMAGE_FILE, TEXT_FILE, PROJECTION_FILE)
PROJECTION = "text_projection"
HEAD_WIDTH = 64
"""Of the attention pooling in the training code (`CLIPVisionCfg`): 32 heads. The weights do not say; the authors'
demonstration notebook builds 8."""

# Original name -> ours, first match wins. An empty name: known, and not needed.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r".*\.num_batches_tracked", ""),
    (r"text_encoder\.embeddings\.position_ids", ""),  # 0, 1, 2, ...: saved by transformers before 4.31
    (r"text_encoder\.pooler\..+", ""),  # the text's vector is taken before it
    # For masked words in training, with the image's vector beside them; the last two are what CLIP had in their place.
    (r"(?:fusion_module|ln_final)\..+|mlm_projection|img_special_token|logit_scale|positional_embedding|attn_mask", ""),
    (r"visual\.(attnpool\..+)", r"\1"),
    (r"(visual\.(?:conv\d|bn\d|layer\d)\..+)", r"\1"),
    (r"(text_encoder\.(?:embeddings|encoder)\..+)", r"\1"),
    (PROJECTION, PROJECTION),
)


class TextModelError(ConversionError):
    """Configuration or tokenizer of the text model are missing, or not PubMedBERT's."""


@dataclass
class _Keys:
    """`weights` leads from our names to the original's."""

    weights: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def convert_pmc_clip(
    source: Path | str,
    out: Path,
    text_model: Path | str = PUBMEDBERT,
    *,
    vision_heads: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Convert PMC-CLIP and give the folder.

    Args:
        source: `checkpoint.pt`, or a folder that holds it or the three split files.
        out: the folder to make.
        text_model: PubMedBERT's configuration and vocabulary, a folder or a model of the Hub; its weights are
            not read.
        vision_heads: of the attention pooling. Default: one for every 64 channels, 32 in the released model.
        progress: called with what is being done and the share that is done, 0 to 1.

    Raises:
        ConversionError: see its kinds; the message names every tensor that is missing, misshapen or unknown.
        HubError: the Hub does not give the text model.
    """
    tell = progress or (lambda what, share: None)
    source, out = Path(source), Path(out)
    if out.exists():
        raise OutputExistsError(f"{out} exists already.")
    tell("Reading the checkpoint", 0.0)
    files = _released_files(source)
    tensors = _read(files)
    keys = _sort(list(tensors))
    weights = {name: tensors[keys.weights[name]] for name in sorted(keys.weights)}
    tell("Reading the text model", 0.1)
    folder = _text_folder(text_model)
    text, tokenizer = _open_text_model(folder)
    shape = {name: tensor.shape for name, tensor in weights.items()}
    config = _configuration(shape, text, vision_heads)
    _check_fit(config, keys, weights)

    dtype = weights[PROJECTION].dtype
    with new_folder(out, sum(output_sizes(weights, dtype).values())) as made:
        tell("Writing weights", 0.2)
        write_weights(weights, dtype, made, lambda share: tell("Writing weights", 0.2 + 0.5 * share))
        tokenizer.save_pretrained(made)
        tell("Hashing", 0.7)
        fingerprint = hashlib.sha256("".join(_sha256(file) for file in sorted(made.glob("*.safetensors"))).encode())
        replace(config, weights=fingerprint.hexdigest()[:12]).write(made)
        sources = {
            "checkpoint": {file.name: _sha256(file) for file in files},
            "text_model": {file.name: _sha256(file) for file in _settings(folder)},
            "tensors": len(tensors),
            "not_needed": sorted(keys.unused),
            "assumed": {} if vision_heads else {"heads": config.heads},
        }
        (made / SOURCES).write_text(json.dumps(sources, indent=2) + "\n")
    tell("Converted", 1.0)
    return out


def _released_files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if (source / WHOLE_FILE).is_file():
        return [source / WHOLE_FILE]
    files = [source / name for name in SPLIT_FILES]
    absent = [file.name for file in files if not file.is_file()]
    if len(absent) == len(files):
        raise CheckpointNotFoundError(
            f"{source} is neither {WHOLE_FILE} nor a folder with it or with {', '.join(SPLIT_FILES)}. The authors' "
            f"files: `hf download axiong/pmc_oa {WHOLE_FILE} --repo-type dataset --local-dir DIR`."
        )
    if absent:
        raise CheckpointNotFoundError(f"{source} lacks {' and '.join(absent)}: the three split files belong together.")
    return files


def _read(files: list[Path]) -> dict[str, StoredTensor]:
    """All tensors by the name that they have in the whole checkpoint."""
    prefixes = {IMAGE_FILE: "visual.", TEXT_FILE: "text_encoder."}
    found: dict[str, StoredTensor] = {}
    for file in files:
        if file.name == PROJECTION_FILE:
            found[PROJECTION] = StoredTensor.held(_lone_tensor(file))
            continue
        prefix = prefixes.get(file.name, "") if len(files) > 1 else ""
        # Distributed training puts "module." before every name.
        found |= {prefix + name.removeprefix("module."): tensor for name, tensor in open_tensors([file]).items()}
    return found


def _lone_tensor(file: Path) -> torch.Tensor:
    """The one tensor that the projection's file is, without a name."""
    try:
        tensor = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError, LookupError, AttributeError) as error:
        raise UnsafeCheckpointError(
            f"{file.name} is not a plain tensor: it is damaged or incomplete, or a pickle that carries code. Nothing "
            "of it was run."
        ) from error
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise UnsafeCheckpointError(f"{file.name} is not one dense tensor, as the authors' file is.")
    return tensor.detach()


def _sort(names: list[str]) -> _Keys:
    keys = _Keys()
    for name in names:
        match, ours = next(
            ((match, ours) for pattern, ours in _RENAMES if (match := re.fullmatch(pattern, name))), (None, "")
        )
        if match is None:
            keys.unknown.append(name)
        elif not ours:
            keys.unused.append(name)
        else:
            keys.weights[match.expand(ours)] = name
    return keys


def _text_folder(text_model: Path | str) -> Path:
    if hub.is_hub_id(text_model):
        return hub.language_model_folder(str(text_model), weights=False)
    if not Path(text_model).is_dir():
        raise TextModelError(f"There is no folder {text_model} with PubMedBERT's config.json and vocab.txt.")
    return Path(text_model)


def _settings(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in {".json", ".txt"} and path.is_file())


def _open_text_model(folder: Path) -> tuple[BertConfig, PreTrainedTokenizerBase]:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TextModelError(f"{folder} holds no config.json and vocab.txt that can be read: {reason}") from error
    if not isinstance(config, BertConfig):
        raise TextModelError(f"PMC-CLIP's text encoder is a BERT; {folder} is a {config.model_type}.")
    if tokenizer.cls_token_id != PUBMEDBERT_CLS:
        raise TextModelError(
            f"[CLS] is {tokenizer.cls_token_id} in the tokenizer of {folder}, {PUBMEDBERT_CLS} in PubMedBERT's: this "
            f"is another BERT's vocabulary, which would make nonsense of every text. Needed: {PUBMEDBERT}."
        )
    if len(tokenizer) > config.vocab_size or config.max_position_embeddings < CONTEXT_LENGTH:
        raise TextModelError(
            f"{folder}: {len(tokenizer)} tokens in the tokenizer, {config.vocab_size} in config.json; "
            f"{config.max_position_embeddings} positions, {CONTEXT_LENGTH} needed. These files are not PubMedBERT's."
        )
    return config, tokenizer


def _configuration(shape: Mapping[str, tuple[int, ...]], text: BertConfig, heads: int | None) -> PmcClipConfig:
    """From the weights' shapes; what is absent gets the released model's value, and is named when the whole is checked.

    Raises:
        ShapeError: the attention pooling cannot have so many heads.
    """
    layers = tuple(
        len({match[1] for name in shape if (match := re.match(rf"visual\.layer{stage}\.(\d+)\.", name))})
        for stage in (1, 2, 3, 4)
    )
    width = shape.get("visual.conv3.weight", (64,))[0]
    places = shape.get("attnpool.positional_embedding", (50,))[0] - 1
    channels = width * TOWER_STRIDE
    heads = heads or max(channels // HEAD_WIDTH, 1)
    if channels % heads:
        raise ShapeError(f"An attention pooling of {channels} channels cannot have {heads} heads.")
    # Without where it was read from: a path of the machine that converted is nobody's business.
    said = {key: value for key, value in text.to_dict().items() if "name_or_path" not in key}
    return PmcClipConfig(
        layers=layers,
        width=width,
        image_size=round(places**0.5) * TOWER_STRIDE,
        heads=heads,
        dim=shape.get("attnpool.c_proj.weight", (768,))[0],
        text=said,
    )


def _check_fit(config: PmcClipConfig, keys: _Keys, weights: Mapping[str, StoredTensor]) -> None:
    """
    Raises:
        MissingKeysError, UnknownKeysError, ShapeError: in this order; the message lists all of them.
    """
    with torch.device("meta"):
        model = PmcClip(config)
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    missing = [name for name in expected if name not in weights]
    unknown = [keys.weights[name] for name in weights if name not in expected] + keys.unknown
    misshapen = [
        f"{name} is {tensor.dtype} {list(tensor.shape)}, not {list(expected[name])} of floating-point numbers"
        for name, tensor in weights.items()
        if name in expected and not (tensor.shape == expected[name] and tensor.dtype.is_floating_point)
    ]
    faults = [
        f"{what}: {listed(names)}."
        for what, names in (
            ("Missing from the checkpoint", missing),
            ("No place in PMC-CLIP for", unknown),
            ("Of another shape or kind", misshapen),
        )
        if names
    ]
    if faults:
        kind = MissingKeysError if missing else UnknownKeysError if unknown else ShapeError
        raise kind(" ".join([*faults, _cause(missing, unknown, misshapen)]))


def _cause(missing: list[str], unknown: list[str], misshapen: list[str]) -> str:
    """What tensors that do not fit usually mean."""
    if any(name.startswith(("llamacasual.", "vision_model.", "fc_l1.", "query_embed.")) for name in unknown):
        return "This is MedVInT (`medvint convert` is for that), not PMC-CLIP."
    if any(name.startswith("visual.head.") for name in unknown):
        return "This is PMC-CLIP on a plain ResNet, without attention pooling, which is not supported."
    if any(name.startswith(("conv1.", "embeddings.")) for name in unknown):
        return f"This is one of the split files: give the folder that holds {', '.join(SPLIT_FILES)}."
    if any("transformer." in name or "trunk." in name for name in unknown):
        return "This is another CLIP; what transformers loads needs no conversion (embedder clip:FOLDER)."
    if not unknown and not missing and all(name.startswith("text_encoder.") for name in misshapen):
        return "Probably config.json is not PubMedBERT's, the text model that PMC-CLIP was trained with."
    return "Probably an incomplete download, or a checkpoint of another project."


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
