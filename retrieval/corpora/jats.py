"""Articles in JATS XML: a folder of .nxml or .xml files, or of .tar.gz packages as PMC ships them.

A package holds the article and its pictures. Other than in text mining tools, a figure without a caption takes no
neighbour's, pictures of formulas are no figures, and the licence is looked for wherever publishers put it.

    figures = list(read_jats(Path("../shared/data/pmc-jats-sample"), report=report))
    figures = list(read_jats(Path("oa_package"), ["CC BY-NC"], report, unpack_to=Path("data/corpora/jats")))
"""

import html
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from lxml import etree

from retrieval.concepts import first_modality, first_region
from retrieval.corpora.archives import unpack_package
from retrieval.corpora.licences import UNKNOWN, normalise_licence
from retrieval.corpora.pmc import year_in
from retrieval.corpora.reading import IMAGE_SUFFIXES, CorpusReport, ImageFolder, UnsafeInputError, admitted, tidy
from retrieval.errors import CorpusError
from retrieval.figures import Figure, article_url, graphic_name

MAX_XML = 64 << 20
ARTICLE_SUFFIXES = (".nxml", ".xml")
PACKAGE_SUFFIXES = (".tar.gz", ".tgz")

_HREF = "{http://www.w3.org/1999/xlink}href"
_FIGURES = ("fig", "fig-group")
_NO_PICTURES = ("disp-formula", "inline-formula", "chem-struct", "caption", "table-wrap")
_BLOCKS = ("p", "title", "list-item", "def-item", "disp-quote", "disp-formula", "break")
_SILENT = ("tex-math", "object-id", "alt-text", "long-desc", "permissions", "graphic")
_PMCID = re.compile(r"(?:PMC)?(\d{1,12})")
_PMCID_IN_NAME = re.compile(r"PMC(\d{1,12})")
_DOI = re.compile(r"10\.\d{4,9}/\S{1,200}")
_BY_PERMISSION = re.compile(
    r"\b(?:reproduced|reprinted|reused|adapted|modified|taken)\b[^.]{0,80}\bpermission\b|all rights reserved", re.I
)


@dataclass(frozen=True)
class _Article:
    key: str
    pmcid: str
    url: str
    licence: str
    year: int | None


def read_jats(
    path: Path,
    licences: Collection[str] | None = None,
    report: CorpusReport | None = None,
    unpack_to: Path | None = None,
) -> Iterator[Figure]:
    """Figures in the order of the files; what cannot be used, a whole article or package too, is counted in `report`.

    A figure with several pictures is one for each of them. A figure that is there by someone's permission, or that
    has a copyright line of its own, has the licence that line states, else none.

    Args:
        path: the folder, or one article or package.
        licences: see `retrieval.corpora.reading.admitted`; None takes the open ones.
        unpack_to: where packages leave the pictures of figures that were taken; None reads their text only.

    Raises:
        CorpusError: there are neither articles nor packages, or `licences` names none.
    """
    report = report if report is not None else CorpusReport()
    return admitted(_figures(path, report, unpack_to), licences, report)


def _figures(path: Path, report: CorpusReport, unpack_to: Path | None) -> Iterator[Figure]:
    for file in _files(path):
        if not file.name.lower().endswith(PACKAGE_SUFFIXES):
            yield from _of_article(file, file.name, report)
        elif unpack_to is None:
            with TemporaryDirectory() as temporary:
                for figure in _of_package(file, Path(temporary) / "package", report):
                    yield replace(figure, image_path=None)
        else:
            inside = file.relative_to(path) if path.is_dir() else Path(file.name)
            yield from _of_package(file, unpack_to / inside.with_name(inside.name.partition(".")[0]), report)


def _files(path: Path) -> list[Path]:
    suffixes = (*ARTICLE_SUFFIXES, *PACKAGE_SUFFIXES)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    files = sorted(file for file in files if file.name.lower().endswith(suffixes) and not file.name.startswith("."))
    if not files:
        raise CorpusError(f"{path} holds no .nxml, .xml or .tar.gz: give a folder of PMC's articles or packages.")
    return files


def _of_package(file: Path, folder: Path, report: CorpusReport) -> Iterator[Figure]:
    """Figures of a package, unpacked into `folder`, where it stays if a figure was taken."""
    fresh = not folder.is_dir()
    if fresh:
        try:
            unpack_package(file, folder, (*ARTICLE_SUFFIXES, *IMAGE_SUFFIXES))
        except UnsafeInputError as error:
            _refuse(report, f"refused: {error.reason}", file)
            return
        except CorpusError:
            _refuse(report, "damaged package", file)
            return
    taken = report.figures
    articles = sorted(inner for inner in folder.rglob("*") if inner.suffix.lower() in ARTICLE_SUFFIXES)
    if not articles:
        _refuse(report, "package without an article", file)
    for article in articles:
        yield from _of_article(article, file.name, report)
    if fresh and report.figures == taken:
        shutil.rmtree(folder)


def _of_article(file: Path, name: str, report: CorpusReport) -> Iterator[Figure]:
    """Figures of one file; `name` is the file's own or its package's, which may hold the PMCID."""
    try:
        elements = _parse(file)
    except UnsafeInputError as error:
        _refuse(report, f"refused: {error.reason}", file)
        return
    except etree.XMLSyntaxError:
        _refuse(report, "malformed XML", file)
        return
    if not elements:
        _refuse(report, "XML that is no JATS article", file)
    images = ImageFolder(file.parent)
    for element in elements:
        article = _article(element, name)
        if article is None:
            _refuse(report, "article with neither PMCID nor DOI", file)
            continue
        for figure in element.iter(*_FIGURES):
            if next(figure.iterancestors("sub-article", "response"), None) is None:
                yield from _of_figure(figure, article, images, report)


def _refuse(report: CorpusReport, reason: str, file: Path) -> None:
    report.rows += 1
    report.skip(reason, file.name)


def _parse(file: Path) -> list[Any]:
    """The `article` elements of a file.

    Raises:
        UnsafeInputError: it is too large or declares entities, which can name other files or grow without end.
        etree.XMLSyntaxError: it is no well-formed XML.
    """
    if file.stat().st_size > MAX_XML:
        raise UnsafeInputError(file, f"XML of more than {MAX_XML >> 20} MiB")
    data = file.read_bytes()
    # Without the NUL bytes UTF-16 reads like ASCII here; other encodings are caught below, after parsing.
    if b"<!ENTITY" in data.replace(b"\0", b""):
        raise UnsafeInputError(file, "XML that declares entities")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    root = etree.fromstring(data, parser)
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and next(declared.iterentities(), None) is not None:
        raise UnsafeInputError(file, "XML that declares entities")
    for element in root.iter():
        # OAI and some publishers put JATS into a namespace.
        if isinstance(element.tag, str) and "nlm.nih.gov" in element.tag.partition("}")[0]:
            element.tag = element.tag.partition("}")[2]
    return list(root.iter("article"))


def _article(element: Any, name: str) -> _Article | None:
    meta = element.find("front/article-meta")
    if meta is None:
        meta = element
    ids = {id_.get("pub-id-type"): tidy(id_.text or "") for id_ in meta.findall("article-id")}
    stated = _PMCID.fullmatch(ids.get("pmcid") or ids.get("pmc") or "") or _PMCID_IN_NAME.search(name)
    doi = _DOI.fullmatch(ids.get("doi", ""))
    if stated is None and doi is None:
        return None
    pmcid = f"PMC{stated[1]}" if stated else ""
    licence = _licence(
        [
            *meta.findall("permissions"),
            *meta.findall("license"),
            *meta.findall("copyright-statement"),
            *meta.xpath(".//custom-meta[meta-name='pmc-license-ref']/meta-value"),
        ]
    )
    years = [year for text in meta.findall("pub-date/year") if (year := year_in(text.text or ""))]
    if pmcid or doi is None:
        return _Article(pmcid, pmcid, article_url(pmcid), licence, min(years, default=None))
    return _Article(f"jats/{doi[0]}", "", f"https://doi.org/{doi[0]}", licence, min(years, default=None))


def _licence(elements: list[Any]) -> str:
    """What attributes (`xlink:href`, `license-type`, `content-type` of `ali:license_ref`) and prose state."""
    said: list[str] = []
    for element in elements:
        said += [value for part in element.iter(etree.Element) for value in part.attrib.values()]
        said.append("".join(element.itertext()))
    return normalise_licence("; ".join(said))


def _of_figure(figure: Any, article: _Article, images: ImageFolder, report: CorpusReport) -> Iterator[Figure]:
    pictures = [(graphic, name) for graphic in _graphics(figure) if (name := _name(graphic))]
    if not pictures and figure.tag == "fig":
        report.rows += 1
        report.skip("figure without a picture", f"{article.key} {figure.get('id', '')}")
    parent = figure.getparent()
    holders = [parent, figure] if parent is not None and parent.tag == "fig-group" else [figure]
    for graphic, name in pictures:
        report.rows += 1
        caption = " ".join(text for holder in (*holders, graphic) if (text := _child(holder, "caption")))
        labels = (_child(holder, "label") for holder in (graphic, *reversed(holders)))
        yield Figure(
            figure_id=f"{article.key}/{name}",
            pmcid=article.pmcid,
            graphic=name,
            label=next(filter(None, labels), ""),
            caption=caption,
            license=_figure_licence(figure, caption, article),
            article_url=article.url,
            source="jats",
            image_path=images.find(*(name + suffix for suffix in IMAGE_SUFFIXES)),
            modality=first_modality(caption),
            region=first_region(caption),
            year=article.year,
            description=_description(figure, graphic),
        )


def _figure_licence(figure: Any, caption: str, article: _Article) -> str:
    if (own := figure.find("permissions")) is not None:
        return _licence([own])
    borrowed = _BY_PERMISSION.search(f"{caption} {_child(figure, 'attrib')}")
    return UNKNOWN if borrowed else article.licence


def _graphics(figure: Any) -> list[Any]:
    """The figure's own pictures, of alternatives the best; not those of figures within it, of formulas, of tables."""
    choices: dict[Any, list[Any]] = {}
    for graphic in figure.iter("graphic"):
        above = list(graphic.iterancestors())
        if not any(holder.tag in (*_FIGURES, *_NO_PICTURES) for holder in above[: above.index(figure)]):
            parent = graphic.getparent()
            choices.setdefault(parent if parent.tag == "alternatives" else graphic, []).append(graphic)
    return [min(alternatives, key=_coarseness) for alternatives in choices.values()]


def _coarseness(graphic: Any) -> tuple[bool, bool]:
    said = " ".join(graphic.attrib.values()).lower()
    small = any(word in said for word in ("thumb", "lowres", "low-res"))
    return small, not _href(graphic).lower().endswith((".jpg", ".jpeg", ".png"))


def _href(graphic: Any) -> str:
    return tidy(graphic.get(_HREF) or graphic.get("href") or "")


def _name(graphic: Any) -> str:
    """The picture's name without folders, which no package has, and without its suffix."""
    return graphic_name(PurePosixPath(_href(graphic).replace("\\", "/")).name)


def _description(*elements: Any) -> str:
    found = [part for element in elements for part in element if part.tag in ("alt-text", "long-desc")]
    return tidy(" ".join("".join(part.itertext()) for part in found))


def _child(element: Any, name: str) -> str:
    child = element.find(name)
    return tidy("".join(_pieces(child))) if child is not None else ""


def _pieces(element: Any) -> Iterator[str]:
    """The text that a reader of the page sees, blocks set apart; without recursion, since files can nest deeply."""
    left: list[Any] = [element]
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif item.tag is etree.Entity:
            yield html.unescape(item.text)
        elif item.tag not in _SILENT:
            space = " " if item.tag in _BLOCKS else ""
            yield space + (item.text or "")
            left.append(space)
            for child in reversed(item):
                left += [child.tail or "", child]
