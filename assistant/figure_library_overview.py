"""What is in the index, in HTML: each corpus with its counts, licences, and modalities as a pie."""

from collections import Counter
from collections.abc import Mapping
from html import escape

from assistant import figure_library_words as words
from assistant.figure_cards import corpus_title
from assistant.figure_library_html import problem
from retrieval.upkeep import CorpusStats, IndexStats

SLICES = 6
"""More are not told apart: the rest is one slice."""
GAP = 0.6
"""Between two slices, in percent."""


def overview(stats: IndexStats) -> str:
    """The corpora, the largest first."""
    ordered = sorted(stats.corpora.items(), key=lambda item: -item[1].figures)
    said = words.IN_ALL.format(
        figures=f"<b>{words.figures(stats.figures)}</b>", corpora=words.corpora(len(stats.corpora))
    )
    made = words.EMBEDDED_BY.format(
        embedder=escape(stats.embedder),
        parquet=words.megabytes(stats.bytes_parquet),
        chroma=words.megabytes(stats.bytes_chroma),
        thumbnails=words.megabytes(stats.bytes_thumbnails),
    )
    behind = "" if stats.in_step else problem(words.BEHIND)
    shown = "".join(_corpus(name, corpus) for name, corpus in ordered)
    heading = f'<h2 class="visually-hidden">{words.IN_THE_INDEX}</h2>'
    return f'{behind}{heading}<p>{said}</p><p class="small">{made}</p><div class="corpora">{shown}</div>'


def _corpus(name: str, corpus: CorpusStats) -> str:
    pictures = words.WITH_PICTURE.format(count=corpus.images) if corpus.images else words.WITHOUT_PICTURES
    return (
        f'<section class="corpus"><h3>{escape(corpus_title(name))}</h3>'
        f"<p>{words.figures(corpus.figures)}{_span(corpus.years)}; {pictures}</p>"
        f'<h4>{words.LICENCES}</h4><p class="chips">{_chips(corpus.licences)}</p>'
        f"<h4>{words.MODALITIES}</h4>{_pie(corpus.modalities)}</section>"
    )


def _span(years: Mapping[int, int]) -> str:
    known = sorted(year for year in years if year)
    if not known:
        return ""
    return f", {known[0]}" if known[0] == known[-1] else words.YEARS_FROM_TO.format(first=known[0], last=known[-1])


def _chips(licences: Mapping[str, int]) -> str:
    counts = Counter(licences).most_common()
    return " ".join(f'<span class="chip">{escape(name)} <b>{count:,}</b></span>' for name, count in counts)


def _pie(counts: Mapping[str, int]) -> str:
    """Shares as a ring, beside the table that says the same in words and numbers."""
    total = sum(counts.values())
    named = Counter({name: count for name, count in counts.items() if name}).most_common()
    slices = [(str(place), name, count) for place, (name, count) in enumerate(named[:SLICES])]
    slices.append(("rest", words.OTHER, sum(count for _, count in named[SLICES:])))
    slices.append(("none", words.NOT_NAMED, counts.get("", 0)))
    ring, rows, before = "", "", 0
    for kind, name, count in slices:
        if not count:
            continue
        # The circle is 100 long, so that a length along it is a percentage.
        share, start = 100 * count / total, 100 * before / total
        before += count
        drawn = share if share == 100 else max(share - GAP, GAP)
        ring += (
            f'<circle class="slice-{kind}" cx="21" cy="21" r="15.915" pathLength="100" '
            f'stroke-dasharray="{drawn:.2f} 100" stroke-dashoffset="{-start:.2f}"/>'
        )
        rows += (
            f'<tr><th scope="row"><i class="slice-{kind}"></i>{escape(name)}</th>'
            f'<td class="count">{count:,}</td><td class="count">{_percent(share)}</td></tr>'
        )
    return (
        f'<div class="pie"><svg viewBox="0 0 42 42" aria-hidden="true">{ring}</svg>'
        f'<table><caption class="visually-hidden">{words.BY_MODALITY}</caption>{rows}</table></div>'
    )


def _percent(share: float) -> str:
    return f"{share:.0f} %" if share >= 1 else "&lt; 1 %"
