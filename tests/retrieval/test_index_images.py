"""Pictures of an index: their vectors, hashes and thumbnails; what belongs together by looks or by words."""

import shutil

import numpy as np
import pytest
from PIL import Image

from retrieval.build import NO_PICTURE, build_index, embed_rows, rebuild_index
from retrieval.corpora.reading import CorpusReport
from retrieval.duplicates import MAX_BITS, find_duplicates, near_pairs
from retrieval.errors import PictureError
from retrieval.store import Store
from retrieval.store_images import Thumbnails, open_picture, perceptual_hash
from tests.retrieval.cheap_index import CheapEmbedder, contents, draw, write_own
from tests.retrieval.conftest import make_figure
from tests.retrieval.corpus_files import huge_png


def test_images_are_embedded_hashed_and_kept_small(few):
    store = Store(few / "index")
    (rows,) = store.rows()
    assert rows.has_image.all()
    assert np.linalg.norm(rows.image_vectors, axis=1) == pytest.approx(1, abs=1e-4)
    assert len({*rows.hashes}) == 4
    assert {len(value) for value in rows.hashes} == {64}
    for figure in rows.figures:
        with Image.open(store.thumbnail(figure.figure_id)) as small:
            assert small.size == (200, 160)
    assert store.thumbnail("own/other") is None
    assert store.thumbnail("../../etc/passwd") is None
    assert [figure.year for figure in rows.figures] == [2000, 2001, 2002, 2003]
    assert rows.figures[0].words.endswith("Drawn ellipses.")


def test_a_picture_that_cannot_be_read_is_told_and_its_figure_kept(tmp_path):
    for name in ("whole", "cut", "gone"):
        draw(1).save(tmp_path / f"{name}.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    (tmp_path / "gone.png").unlink()
    figures = [
        make_figure(number, "A drawing.", image_path=str(tmp_path / f"{name}.png"))
        for number, name in enumerate(("whole", "cut", "gone"))
    ]
    report = CorpusReport()
    rows = embed_rows(figures, CheapEmbedder(), Thumbnails(tmp_path), report)
    assert rows.has_image.tolist() == [True, False, False]
    assert report.skipped == {NO_PICTURE: 2}
    assert report.examples[NO_PICTURE] == [figure.figure_id for figure in figures[1:]]


class RetrainedHead(CheapEmbedder):
    """The same words' vectors, other vectors of images."""

    image_space = "cheap-images-2"

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        raise AssertionError("words are not embedded again")

    def embed_images(self, images: list[Image.Image]) -> np.ndarray:
        return super().embed_images(images)[:, ::-1]


def test_another_image_head_embeds_images_only(tmp_path, few):
    shutil.copytree(few / "index", tmp_path / "index")
    words, images = contents(tmp_path)
    assert rebuild_index(tmp_path, embedder=RetrainedHead()).added == 4
    store = Store(tmp_path / "index")
    assert (store.current().image_space, store.current().images) == ("cheap-images-2", 4)
    after_words, after_images = contents(tmp_path)
    assert after_words == words
    for figure_id, (_, _, vector) in after_images.items():
        assert vector == pytest.approx(images[figure_id][2][::-1])


def test_without_the_images_files_another_head_looks_at_the_thumbnails(tmp_path):
    own = write_own(tmp_path / "own", {"a.png": "A drawing.", "b.png": "Another drawing."})
    build_index("own", tmp_path, own, embedder=CheapEmbedder())
    _, before = contents(tmp_path)
    shutil.rmtree(own)
    rebuild_index(tmp_path, embedder=RetrainedHead())
    _, after = contents(tmp_path)
    for figure_id, (_, _, vector) in after.items():
        assert vector == pytest.approx(before[figure_id][2][::-1], abs=0.02)


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


@pytest.mark.parametrize(
    ("suffix", "change"),
    [
        (".jpg", lambda image: image),
        (".png", lambda image: image.resize((640, 512))),
        (".webp", lambda image: image.resize((90, 72))),
        (".png", lambda image: image.convert("L")),
        (".png", lambda image: image.point(lambda value: int(0.8 * value + 20))),
    ],
)
def test_a_picture_saved_otherwise_keeps_its_hash(tmp_path, suffix, change):
    for number in range(8):
        original = draw(number)
        file = tmp_path / f"{number}{suffix}"
        change(original).save(file)
        assert distance(perceptual_hash(original), perceptual_hash(open_picture(file))) <= MAX_BITS


def test_different_pictures_have_hashes_far_apart():
    hashes = [perceptual_hash(draw(number)) for number in range(40)]
    assert min(distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 3 * MAX_BITS


@pytest.mark.parametrize("colour", ["black", "white", (120, 121, 119)])
def test_a_picture_of_nothing_has_no_hash(colour):
    assert perceptual_hash(Image.new("RGB", (50, 40), colour)) == ""


@pytest.mark.parametrize("seed", range(3))
def test_near_pairs_are_those_that_comparing_all_with_all_finds(seed):
    random = np.random.default_rng(seed)
    hashes = random.integers(1, 2**16, (120, 16), dtype=np.uint16)
    for row in range(60, 120):
        hashes[row] = hashes[row - 60]
        for bit in random.choice(256, random.integers(0, 25), replace=False):
            hashes[row, bit // 16] ^= np.uint16(1 << (bit % 16))
    hashes[7] = 0
    differing = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2)
    wanted = {(a, b) for a, b in np.argwhere(differing <= MAX_BITS).tolist() if a < b and 7 not in (a, b)}
    assert {tuple(sorted(pair)) for pair in near_pairs(hashes, MAX_BITS).tolist()} == wanted
    assert len(wanted) > 20


def test_equal_hashes_make_a_chain():
    assert sorted(map(tuple, near_pairs(np.ones((4, 16), np.uint16), 15).tolist())) == [(0, 1), (0, 2), (0, 3)]


def test_duplicates_by_caption_by_looks_and_by_id(tmp_path):
    store, embedder = Store(tmp_path), CheapEmbedder()
    looks = {number: perceptual_hash(draw(number)) for number in range(3)}
    panels = [make_figure(1, "CT of the liver (a, b).", figure_id=f"PMC1001/p{n}", graphic=f"p{n}") for n in range(2)]
    other_article = make_figure(2, "CT of the liver (a, b).")
    same_picture = [make_figure(n, f"Words {n}.") for n in (3, 4)]
    ours = make_figure(5, "Our words.", source="sample", caption_by="medvint")
    theirs, also = make_figure(5, "Their words."), make_figure(5, "Their words.", source="pmc-oa", year=2001)

    def add(source, figures, hashes):
        vectors = embedder.embed_texts([figure.words for figure in figures])
        seen = np.where([[bool(value)] for value in hashes], vectors, np.nan).astype(np.float32)
        store.append(source, figures, vectors, embedder, seen, hashes)

    with store.writing():
        add("roco", [panels[0], panels[1], other_article], ["", looks[0], looks[1]])
        add("roco", [*same_picture, theirs], [looks[2], looks[2], ""])
        add("sample", [ours], [""])
        add("pmc-oa", [also], [perceptual_hash(draw(9))])
    found = find_duplicates(store.parquet)
    assert found.group == {
        **{panel.figure_id: "PMC1001/p0" for panel in panels},
        **{figure.figure_id: same_picture[0].figure_id for figure in same_picture},
    }
    # The article's words before ours, and of two with them the one that has an image.
    assert found.shard == {also.figure_id: "pmc-oa-000000.parquet"}
    assert found.also == {also.figure_id: (theirs, ours)}
    figures = [figure for rows in store.rows() for figure in rows.figures]
    assert len(figures) == 6
    assert also in figures


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "I;16", "F"])
def test_pictures_of_every_mode_open(tmp_path, mode):
    file = tmp_path / ("picture.tif" if mode in ("CMYK", "F") else "picture.png")
    draw(3).convert("L" if mode in ("I;16", "F") else mode).convert(mode).save(file)
    image = open_picture(file)
    assert (image.mode, image.size) == ("RGB", (200, 160))
    assert np.asarray(image).std() > 10


def test_transparent_parts_become_white(tmp_path):
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_picture(tmp_path / "clear.png").getpixel((5, 5)) == (255, 255, 255)


def test_large_pictures_are_shrunk(tmp_path):
    draw(1, (3000, 100)).save(tmp_path / "wide.jpg")
    assert max(open_picture(tmp_path / "wide.jpg").size) == 1024
    thumbnails = Thumbnails(tmp_path)
    thumbnails.write("a/b", open_picture(tmp_path / "wide.jpg"))
    with Image.open(thumbnails.find("a/b")) as small:
        assert max(small.size) == 320
        assert not small.getexif()


@pytest.mark.parametrize("content", [b"", b"no picture", huge_png(20_000, 10_000), huge_png(100_000, 100_000)])
def test_what_is_no_picture_or_too_large_is_refused(tmp_path, content):
    (tmp_path / "file.png").write_bytes(content)
    with pytest.raises(PictureError, match=r"file\.png"):
        open_picture(tmp_path / "file.png")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(PictureError, match="gone"):
        open_picture(tmp_path / "gone.png")
