"""What `make up` installs is enough: nothing of the product needs a package that only tests and training have."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def names(file: str) -> set[str]:
    lines = (ROOT / file).read_text().splitlines()
    return {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line and line[0] != "#"}


def test_model_and_page_are_made_without_the_tools(tmp_path):
    tools = names("requirements-dev.txt") - names("requirements.txt")
    owners = {
        module: {owner.lower().replace("_", "-") for owner in of} for module, of in packages_distributions().items()
    }
    absent = sorted(module for module, of in owners.items() if of <= tools)
    assert {"peft", "pytest", "ray"} <= set(absent)
    code = f"""
import sys
sys.modules.update(dict.fromkeys({absent!r}))  # as if they were not installed
from pathlib import Path
import serving.medvint.vllm_plugin
from assistant.app import create_app
from assistant.settings import Settings
from serving.decoders import open_decoder
from serving.demo import decoder_file
assert open_decoder(decoder_file()).read_weights()
create_app(Settings(data_dir=Path({str(tmp_path)!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
