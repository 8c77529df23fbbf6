"""Articles in JATS: figures as printed, licences wherever they hide, files that are built to do harm."""

import pytest

from retrieval.corpora.jats import read_jats
from retrieval.corpora.reading import CorpusReport
from retrieval.errors import CorpusError
from tests.retrieval.conftest import SHARED
from tests.retrieval.corpus_files import huge_png, image_bytes, write_image, write_package

JATS = SHARED / "pmc-jats-sample"
CC_BY = '<permissions><license xlink:href="http://creativecommons.org/licenses/by/4.0/"/></permissions>'
FIG = '<fig id="F1"><label>Fig. 1</label><caption><p>Chest CT.</p></caption><graphic xlink:href="a-1"/></fig>'
IDS = '<article-id pub-id-type="pmc">123</article-id><article-id pub-id-type="doi">10.1000/x1</article-id>'
NAMESPACES = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:ali="http://www.niso.org/schemas/ali/1.0/"'


def article(body: str = FIG, permissions: str = CC_BY, ids: str = IDS, root: str = "") -> str:
    return (
        f"<article {NAMESPACES} {root}><front><article-meta>{ids}"
        "<pub-date pub-type='ppub'><year>2013</year></pub-date><pub-date pub-type='epub'><year>2012</year></pub-date>"
        f"{permissions}</article-meta></front><body>{body}</body></article>"
    )


def read(tmp_path, text: str | bytes, licences=("CC BY", "CC0", "unknown"), name: str = "a.nxml"):
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    report = CorpusReport()
    return list(read_jats(tmp_path, licences, report)), report


def test_a_figure_has_all_that_its_article_says_of_it(tmp_path):
    image = write_image(tmp_path / "a-1.jpg")
    body = (
        '<fig id="F1"><label>Figure 1</label><caption><title>Title.</title><p>Brain <bold>MRI</bold> of T<sub>2</sub>'
        ' [<xref rid="B1">1</xref>].</p><p>Second <inline-formula><tex-math>\\frac</tex-math></inline-formula>part.</p>'
        '</caption><alt-text>A grey slice.</alt-text><graphic xlink:href="a-1"/></fig>'
    )
    (figure,), report = read(tmp_path, article(body))
    assert (figure.figure_id, figure.pmcid, figure.graphic) == ("PMC123/a-1", "PMC123", "a-1")
    assert figure.caption == "Title. Brain MRI of T2 [1]. Second part."
    assert (figure.label, figure.description, figure.year) == ("Figure 1", "A grey slice.", 2012)
    assert (figure.license, figure.source, figure.image_path) == ("CC BY 4.0", "jats", str(image))
    assert (figure.modality, figure.region) == ("MRI", "head")
    assert figure.article_url == "https://pmc.ncbi.nlm.nih.gov/articles/PMC123/"
    assert (report.rows, report.figures) == (1, 1)


URL = "https://creativecommons.org/licenses/by-nc/4.0/"


@pytest.mark.parametrize(
    "permissions",
    [
        f'<permissions><license xlink:href="{URL}"/></permissions>',
        f'<permissions><license><license-p>See <ext-link xlink:href="{URL}">here</ext-link>.</license-p></license></permissions>',
        f"<permissions><license><ali:license_ref>{URL}</ali:license_ref></license></permissions>",
        f"<permissions><ali:free_to_read/><ali:license_ref start_date='2014-01-01'>{URL}</ali:license_ref></permissions>",
        '<permissions><license><ali:license_ref content-type="ccbynclicense"/></license></permissions>',
        '<permissions><license license-type="CC BY-NC 4.0"><p>Open access.</p></license></permissions>',
        f"<permissions><copyright-statement>Doe. This is open access under {URL}.</copyright-statement></permissions>",
        "<copyright-statement>Creative Commons Attribution-NonCommercial License 4.0</copyright-statement>",
        '<permissions><license license-type="open-access"><license-p>the Creative Commons Attribution '
        "Non-Commercial License 4.0</license-p></license></permissions>",
        "<custom-meta-group><custom-meta><meta-name>pmc-license-ref</meta-name><meta-value>CC BY-NC 4.0</meta-value>"
        "</custom-meta></custom-meta-group>",
    ],
)
def test_the_licence_is_found_wherever_it_hides(tmp_path, permissions):
    (figure,), _ = read(tmp_path, article(permissions=permissions), ["CC BY-NC"])
    assert figure.license in ("CC BY-NC 4.0", "CC BY-NC")


def test_an_article_without_a_licence_is_not_open(tmp_path):
    silent = article(permissions="<permissions><copyright-statement>© 2013 Doe</copyright-statement></permissions>")
    figures, report = read(tmp_path, silent, None)
    assert (figures, report.skipped) == ([], {"licence unknown": 1})


@pytest.mark.parametrize(
    ("inside", "licence"),
    [
        ("<permissions><copyright-statement>© Elsevier</copyright-statement></permissions>", "unknown"),
        (
            '<permissions><license xlink:href="http://creativecommons.org/publicdomain/zero/1.0/"/></permissions>',
            "CC0 1.0",
        ),
        ("<attrib>Reproduced from Smith (2001) with permission.</attrib>", "unknown"),
        ("<attrib>Photograph: J. Doe.</attrib>", "CC BY 4.0"),
    ],
)
def test_a_figure_with_terms_of_its_own_has_these(tmp_path, inside, licence):
    (figure,), _ = read(tmp_path, article(FIG.replace("</fig>", f"{inside}</fig>")))
    assert figure.license == licence


def test_a_caption_that_names_a_permission_has_no_licence_but_a_patient_s_consent_changes_nothing(tmp_path):
    borrowed = FIG.replace("Chest CT.", "Chest CT. Reprinted from Smith with kind permission of Elsevier.")
    consent = FIG.replace("Chest CT.", "Photograph used with the patient's permission.").replace("a-1", "a-2")
    figures, _ = read(tmp_path, article(borrowed + consent))
    assert [figure.license for figure in figures] == ["unknown", "CC BY 4.0"]


@pytest.mark.parametrize(
    ("body", "graphics"),
    [
        (FIG.replace('<graphic xlink:href="a-1"/>', '<graphic xlink:href="a-1a"/><graphic xlink:href="a-1b"/>'), ["a-1a", "a-1b"]),
        (
            FIG.replace(
                '<graphic xlink:href="a-1"/>',
                '<alternatives><graphic xlink:href="a.tif"/><graphic content-type="thumb" xlink:href="s.jpg"/>'
                '<graphic xlink:href="b.jpg"/></alternatives>',
            ),
            ["b"],
        ),
        (FIG.replace("</p>", '</p><p><disp-formula><graphic xlink:href="e1"/></disp-formula></p>'), ["a-1"]),
        (FIG + '<disp-formula><graphic xlink:href="e1"/></disp-formula><p><inline-graphic xlink:href="i1"/></p>', ["a-1"]),
        (f"<sub-article><body>{FIG}</body></sub-article>", []),
        (FIG.replace("a-1", "images/../../a-1.jpg"), ["a-1"]),
        (FIG.replace("a-1", "C:\\figures\\a-1.tif"), ["a-1"]),
        (f"</body><floats-group>{FIG}</floats-group><body>", ["a-1"]),
    ],
)  # fmt: skip
def test_pictures_of_figures_are_figures_and_nothing_else(tmp_path, body, graphics):
    figures, _ = read(tmp_path, article(body))
    assert [figure.graphic for figure in figures] == graphics


def test_a_figure_in_a_group_has_the_group_s_caption_before_its_own(tmp_path):
    group = (
        "<fig-group><label>Figure 2</label><caption><title>Three views.</title></caption>"
        '<fig><label>a</label><caption><p>From the front.</p></caption><graphic xlink:href="g1"/></fig>'
        '<fig><graphic xlink:href="g2"/></fig></fig-group>'
    )
    figures, _ = read(tmp_path, article(group))
    assert [(figure.label, figure.caption) for figure in figures] == [
        ("a", "Three views. From the front."),
        ("Figure 2", "Three views."),
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('<fig id="F2"><graphic xlink:href="b"/></fig>', "no caption"),
        ('<fig id="F2"><caption><p>A film.</p></caption><media xlink:href="b.mp4"/></fig>', "figure without a picture"),
        ('<fig id="F2"><caption><p>Nothing.</p></caption><graphic/></fig>', "figure without a picture"),
        (FIG, "figure given twice"),
    ],
)
def test_a_figure_that_cannot_be_used_takes_no_neighbour_s_caption(tmp_path, body, reason):
    figures, report = read(tmp_path, article(FIG + body))
    assert [figure.graphic for figure in figures] == ["a-1"]
    assert report.skipped == {reason: 1}
    assert report.rows == 2


@pytest.mark.parametrize(
    ("ids", "figure_id"),
    [
        ('<article-id pub-id-type="pmcid">PMC77</article-id>', "PMC77/a-1"),
        ('<article-id pub-id-type="doi">10.1000/x1</article-id>', "jats/10.1000/x1/a-1"),
        ('<article-id pub-id-type="pmc">../../etc</article-id><article-id pub-id-type="doi">10.1000/x1</article-id>', "jats/10.1000/x1/a-1"),
    ],
)  # fmt: skip
def test_an_article_is_known_by_its_pmcid_or_its_doi(tmp_path, ids, figure_id):
    (figure,), _ = read(tmp_path, article(ids=ids))
    assert figure.figure_id == figure_id
    assert figure.pmcid == ("PMC77" if "PMC77" in figure_id else "")
    assert figure.article_url.startswith("https://pmc" if figure.pmcid else "https://doi.org/10.1000/x1")


def test_articles_may_come_in_a_list_or_in_a_namespace_or_with_named_entities(tmp_path):
    other = article(FIG.replace("Chest", "&alpha;"), ids=IDS.replace("123", "124"))
    wrapped = f'<!DOCTYPE a PUBLIC "-//NLM//DTD" "http://127.0.0.1:9/a.dtd"><pmc-articleset>{other}</pmc-articleset>'
    figures, _ = read(tmp_path, wrapped)
    assert [figure.caption for figure in figures] == ["α CT."]
    spaced = article(root='xmlns="https://jats.nlm.nih.gov/ns/archiving/1.3/"')
    assert len(read(tmp_path / "b", spaced)[0]) == 1


DECLARED = '<!DOCTYPE article [<!ENTITY a "lol">{}]>'
LAUGHS = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DECLARED.format(LAUGHS) + article(FIG.replace("Chest", "&i;")), "refused: XML that declares entities"),
        (DECLARED.format(LAUGHS) + article(FIG.replace("F1", "&i;")), "refused: XML that declares entities"),
        ('<!DOCTYPE article [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + article(FIG.replace("Chest", "&x;")),
         "refused: XML that declares entities"),
        ('<!DOCTYPE article [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;]>' + article(),
         "refused: XML that declares entities"),
        ((DECLARED.format("") + article()).encode("utf-16"), "refused: XML that declares entities"),
        (('<?xml version="1.0" encoding="cp037"?>' + DECLARED.format("") + article()).encode("cp037"), None),
        (article() + "<", "malformed XML"),
        (article(FIG.replace("Chest", "\0")), "malformed XML"),
        (article("<p>" * 50_000 + "</p>" * 50_000), "malformed XML"),
        ("", "malformed XML"),
        (article(f"<p>{'x' * 11_000_000}</p>"), "malformed XML"),
        ("<html><body/></html>", "XML that is no JATS article"),
        (article(ids=""), "article with neither PMCID nor DOI"),
    ],
    ids=["laughs", "laughs in an attribute", "external", "parameter", "utf-16", "ebcdic", "two roots", "nul", "deep",
         "empty", "long text", "html", "nameless"],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_counted_and_the_others_are_read(tmp_path, text, reason):
    (tmp_path / "z.nxml").write_text(article())
    figures, report = read(tmp_path, text)
    assert [figure.caption for figure in figures] == ["Chest CT."]
    assert sum(report.skipped.values()) == 1
    assert reason is None or report.skipped == {reason: 1}
    assert report.examples[next(iter(report.skipped))] == ["a.nxml"]


def test_deeply_nested_captions_are_read(tmp_path):
    figures, _ = read(tmp_path, article(FIG.replace("Chest CT.", "<bold>" * 200 + "Chest CT." + "</bold>" * 200)))
    assert [figure.caption for figure in figures] == ["Chest CT."]


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval.corpora.jats.MAX_XML", 1000)
    _, report = read(tmp_path, article(FIG * 10))
    assert list(report.skipped) == ["refused: XML of more than 0 MiB"]


@pytest.fixture
def packages(tmp_path):
    folder = tmp_path / "oa_package"
    for number, licence in ((1, CC_BY), (2, CC_BY.replace("/by/", "/by-nc/"))):
        text = article(permissions=licence, ids=IDS.replace("123", str(number)))
        write_package(
            folder / f"0{number}" / f"PMC{number}.tar.gz",
            {
                f"PMC{number}/a.nxml": text.encode(),
                f"PMC{number}/a-1.jpg": image_bytes(kind="JPEG"),
                f"PMC{number}/a-1.gif": image_bytes(kind="GIF"),
                f"PMC{number}/a.pdf": b"%PDF",
            },
        )
    return folder


def test_packages_leave_the_pictures_of_what_was_taken(packages, tmp_path):
    kept, report = tmp_path / "kept", CorpusReport()
    (figure,) = read_jats(packages, None, report, kept)
    assert figure.pmcid == "PMC1"
    assert figure.image_path == str(kept / "01" / "PMC1" / "PMC1" / "a-1.jpg")
    assert report.skipped == {"licence CC BY-NC 4.0": 1}
    assert sorted(file.name for file in kept.rglob("*.*")) == ["a-1.gif", "a-1.jpg", "a.nxml"]
    assert list(read_jats(packages, None, None, kept)) == [figure]


def test_packages_without_a_place_to_unpack_give_their_text(packages):
    assert [figure.image_path for figure in read_jats(packages)] == [None]
    assert [figure.pmcid for figure in read_jats(packages / "02" / "PMC2.tar.gz", ["cc-by-nc"])] == ["PMC2"]


def test_a_package_s_name_tells_the_pmcid_where_the_article_does_not(tmp_path):
    write_package(tmp_path / "PMC55.tar.gz", {"PMC55/a.nxml": article(ids="").encode()})
    assert [figure.figure_id for figure in read_jats(tmp_path)] == ["PMC55/a-1"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"../a.nxml": b"x"}, "refused: it would write outside its folder"),
        ({"PMC9/readme.txt": b"x"}, "package without an article"),
        ({"PMC9/a.nxml": article(ids=IDS.replace("123", "9")).encode(), "PMC9/a-1.png": huge_png(20_000, 10_000)},
         "image of more than 80 megapixels"),
    ],
)  # fmt: skip
def test_a_package_that_cannot_be_used_is_counted(packages, tmp_path, members, reason):
    write_package(packages / "PMC9.tar.gz", members)
    report = CorpusReport()
    assert len(list(read_jats(packages, ["CC BY", "CC BY-NC"], report, tmp_path / "kept"))) == 2
    assert report.skipped == {reason: 1}
    assert not (tmp_path / "kept" / "PMC9").exists()


def test_a_damaged_package_is_counted(packages):
    (packages / "PMC9.tgz").write_bytes(b"no archive")
    report = CorpusReport()
    assert len(list(read_jats(packages, report=report))) == 1
    assert report.examples["damaged package"] == ["PMC9.tgz"]


def test_a_folder_without_articles_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"\.nxml"):
        list(read_jats(tmp_path))


@pytest.mark.skipif(not JATS.is_dir(), reason="../shared/data/pmc-jats-sample is not there")
def test_real_articles_give_the_figures_and_licences_that_a_person_counted():
    report = CorpusReport()
    figures = list(read_jats(JATS, report=report))
    found = {(figure.pmcid, figure.license, figure.year) for figure in figures}
    assert found == {
        ("PMC3166277", "CC BY 2.0", 2011),
        ("PMC2599765", "public domain", 2008),
        ("PMC3585041", "CC BY", 2013),
        ("PMC1790863", "CC BY", 2007),
    }
    assert len(figures) == report.rows == 11
    location = next(figure for figure in figures if figure.pmcid == "PMC3585041")
    assert location.caption.startswith("Location of the study areas. Figure 1 shows the map of the Zambézia Province")
