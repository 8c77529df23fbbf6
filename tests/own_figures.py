"""A teacher's own collection, as the tests of library and commands send it: real images, a table with faults."""

import zipfile
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "assistant" / "examples"
CAPTIONS = {
    "ct-head.png": "Axial CT of the head at the level of the lateral ventricles, from our own teaching file.",
    "mri-brain.png": "Axial MRI of the brain with a bright lesion, from our own teaching file.",
    "ultrasound-heart.png": "Echocardiogram, four chambers of the heart, from our own teaching file.",
}
LEFT_OUT = 3


def make_folder(folder: Path, faults: bool = True) -> Path:
    """Three figures; with `faults` also a row without a caption, one without its file, and an image without a row."""
    folder.mkdir(parents=True)
    rows = [f"{name},{caption!r},CC BY 4.0,2021" for name, caption in CAPTIONS.items()]
    rows = [row.replace("'", '"') for row in rows]
    for name in CAPTIONS:
        (folder / name).write_bytes((EXAMPLES / name).read_bytes())
    if faults:
        rows += ["mri-abdomen.png,,CC BY 4.0,2021", "nowhere.png,A figure that is not there,CC BY 4.0,2021"]
        (folder / "mri-abdomen.png").write_bytes((EXAMPLES / "mri-abdomen.png").read_bytes())
        (folder / "retina.png").write_bytes((EXAMPLES / "retina.png").read_bytes())
    (folder / "table.csv").write_text("\n".join(["image,caption,licence,year", *rows]) + "\n")
    return folder


def make_zip(file: Path, faults: bool = True) -> Path:
    """The same as a ZIP."""
    folder = make_folder(file.with_suffix(""), faults)
    with zipfile.ZipFile(file, "w") as archive:
        for member in sorted(folder.iterdir()):
            archive.write(member, member.name)
    return file
