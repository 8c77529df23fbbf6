"""Every word of the Library page, in one place; `str.format` fills the braces.

What a figure's card says in the chat too is in `figure_cards`, what every page says in `pages`.
"""

TITLE = "Library · MedVInT assistant"
SEARCH, CORPORA = "Search", "Corpora"

# The search, its filters and what it found.
FIND = "Find figures"
FIND_SUCH_AS = "Words, an image, or both: left pleural effusion"
FORGET_IMAGE = "Search without the image"
FILTERS = "Filters"
FACETS = ("Modality", "Region", "Licence", "Corpus")
YEARS = ("Year from", "Year to")
INVITATION = "By words, by an image, or by both. Every figure keeps its licence and the link to its article."
NO_FIGURES = "There are no figures yet. Under Corpora you can add your own, or the sample that comes along."
SUCH_AS = "Such as:"
EXAMPLES = ("left pleural effusion", "brain tumour on MRI", "fracture of the wrist", "bleeding in the retina")
NOTHING_ASKED = "Write what to look for, or add an image."
TOO_LONG = "Please use at most {limit:,} characters."
YOUR_IMAGE = "your image"
AND = " and "
RESULTS = "Figures found"
FOUND = "{figures} for {asked}, the most similar first."
FOUND_LIKE = "{figures} like {asked}, the most similar first."
NOTHING_SIMILAR = "Nothing in the index is similar to {asked}."
NOTHING_SIMILAR_FILTERED = "Nothing in the index is similar to {asked} within these filters."
NOTHING_SIMILAR_ADVICE = "Other words may help. Nothing is shown rather than something far away."
FILTERED_ADVICE = "Fewer filters may help."
SIMILARITY = "similarity {score:.2f}"
FOUND_BY = "found by {query}"
MORE_LIKE = "more like this"

# A figure's page.
OPEN_FIGURE = "Open the figure"
CLOSE = "close"
NO_SUCH_FIGURE = "The index has no such figure (any more)."
NOT_HERE = "The picture is in the article; it is not on this machine."
CAPTION = "Caption"
DESCRIPTION = "Description"
FACTS = {
    "source": "Source",
    "licence": "Licence",
    "year": "Year",
    "corpus": "Corpus",
    "modality": "Modality",
    "region": "Region",
    "findings": "Findings",
    "also": "The same figure",
}
SIMILAR = "Similar figures"
NOTHING_LIKE_IT = "No other figure of the index is similar to this one."

# What is in the index.
IN_THE_INDEX = "In the index"
COUNTING = "counting the figures"
LICENCES, MODALITIES = "Licences", "Modalities"
BY_MODALITY = "Figures by modality"
OTHER, NOT_NAMED = "other", "not named"
IN_ALL = "{figures} in {corpora}."
EMBEDDED_BY = "Embedded by {embedder}. On disk: figures {parquet}, search database {chroma}, pictures {thumbnails}."
WITH_PICTURE = "{count:,} with their picture on this machine"
WITHOUT_PICTURES = "their pictures are in the articles"
YEARS_FROM_TO = ", {first} to {last}"
BEHIND = "The search database is behind the figures: Rebuild makes it anew."

# Adding a collection.
ADD_OWN = "Add your own figures"
FORM_OF_OWN = (
    "A ZIP or a folder with images and a table (CSV or JSONL) of what they show. The columns {image}, the file's name, "
    "and {caption} are needed; {others} are read where they are there."
)
FORM_OF_OWN_NOTE = (
    "You see what would be left out before anything is stored. Nothing leaves this machine. Names that are burned into "
    "an image stay in it: remove them first."
)
CHOOSE_ZIP = "Choose a ZIP (at most {limit})"
CHOOSE_FOLDER = "Choose a folder"
READING = "reading what you sent"
FILES = "{count:,} files"
WOULD_BE_ADDED = "{figures} would be added"
NOTHING_LEFT_OUT = ", nothing would be left out."
LEFT_OUT = ", {rows} would be left out:"
WHY, ROWS, WHICH = "Why", "Rows", "Which"
MORE, AND_MORE = "{count:,} more", "and {count:,} more"
ADD, DISCARD = "Add these figures", "Discard"
TOO_LARGE = "That is {size}; at most {limit} are taken here. Larger collections: medvint index build own --path FOLDER"
ONE_NAME_TWICE = (
    "Two files have the name {name}. A folder with folders in it: please pack it as a ZIP, which keeps them apart."
)

SAMPLE = "The sample"
SAMPLE_WHAT = "Figures from open-access articles, described in this repository; without their pictures."
ADD_SAMPLE = "Add the sample"

# Deleting and rebuilding.
DELETE_A_CORPUS = "Delete a corpus"
WHICH_CORPUS = "Corpus to delete"
DELETE = "Delete this corpus"
CHOOSE_FIRST = "Choose a corpus first."
REALLY_DELETE = "Delete all figures of {title}, and the copies of their pictures here? The originals stay."
DELETE_YES, DELETE_NO = "Delete the figures", "Keep them"
REBUILD = "Rebuild"
REBUILD_WHAT = (
    "Makes the search database anew from the figures that are kept: after a change of embedder, or where searches fail."
)

# Work that writes the index.
ADDING, DELETING, REBUILDING = "Adding {name}", "Deleting {title}", "Rebuilding"
ADDED = "{added} added; {total:,} are in the index."
ADDED_SOME = "{added} added, {there:,} were there; {total:,} are in the index."
DELETED = "{figures} deleted from the index."
REBUILT = "The search database was made anew; it has {figures}."
STARTING, STOPPING, STOP = "starting", "stopping", "Stop"
STOPPED = "Stopped. What was finished is kept; the same again goes on from there."
BUSY = "The index is being written ({title}: {told}). Wait until that has finished, or stop it."
FAULT = "Something went wrong here. It was logged; what was finished is kept."


def count(number: int, one: str, several: str) -> str:
    """A number with its noun: "1 figure", "22,477 figures"."""
    return f"{number:,} {one if number == 1 else several}"


def figures(number: int) -> str:
    return count(number, "figure", "figures")


def corpora(number: int) -> str:
    return count(number, "corpus", "corpora")


def rows(number: int) -> str:
    return count(number, "row", "rows")


def megabytes(size: float) -> str:
    """Bytes, as a person reads them."""
    return f"{size / 2**20:,.1f} MB" if size < 10 * 2**20 else f"{size / 2**20:,.0f} MB"
