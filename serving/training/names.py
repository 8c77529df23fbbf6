"""The original MedVInT's names of what stage 3 leaves (`tower.`, `projector.`, `decoder.` in `vqa.Parts`)."""

from serving.original_keys import TOWER_CHILDREN

_TOWER_NUMBERS = {ours: number for number, ours in TOWER_CHILDREN.items()}
_LORA_PREFIX = "decoder.base_model.model."


def original_name(name: str) -> str:
    """The original's name of a tensor of stage 3 (`tower.`, `projector.`, `decoder.`)."""
    part, _, rest = name.partition(".")
    if part == "tower":
        child, _, rest = rest.partition(".")
        return f"vision_model.{_TOWER_NUMBERS[child]}.{rest}"
    if part == "projector":
        return f"decoder.{rest}" if rest.startswith(("layers.", "norm.")) else rest
    return f"llamacasual.base_model.model.{name.removeprefix(_LORA_PREFIX).replace('.default', '')}"
