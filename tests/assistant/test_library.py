"""The Library without its screen: search, figure page, preview, adding, deleting, jobs; real index, real images."""

import threading
import zipfile

import pytest
from PIL import Image

from assistant import figure_cards, figure_library_html
from assistant.chat import Turn, earlier_questions
from assistant.figure_library import FigurePage, Library, Query, Results
from assistant.figure_library_jobs import Jobs
from assistant.figure_library_overview import overview
from assistant.figure_library_session import LibrarySession
from assistant.figure_library_words import NO_FIGURES, STOPPED
from assistant.figure_search import FigureSearch
from assistant.pace import Pace
from assistant.pages import header
from assistant.settings import Settings
from assistant.uploads import UploadLimits, clean_upload
from retrieval.errors import CorpusError, IndexBusyError, IndexMissingError
from retrieval.figures import Figure, Hit
from retrieval.filters import Filters
from retrieval.store import Store
from tests.assistant.conftest import open_library
from tests.own_figures import CAPTIONS, EXAMPLES, LEFT_OUT, make_folder, make_zip

SCRIPT = "<script>alert(1)</script>"


def upload(name: str):
    return clean_upload((EXAMPLES / name).read_bytes(), name, UploadLimits())


def figure(**values) -> Figure:
    told = {
        "figure_id": "PMC1/g1",
        "pmcid": "PMC1",
        "graphic": "g1",
        "label": "Figure 2",
        "caption": "Mass.",
        "license": "CC BY",
        "article_url": "https://example.org/PMC1",
        "source": "roco",
    }
    return Figure(**{**told, **values})


@pytest.fixture(scope="module")
def library(own) -> Library:
    return open_library(own)


@pytest.mark.parametrize("as_zip", [True, False])
def test_a_preview_says_what_would_be_left_out_and_stores_nothing(tmp_path, as_zip):
    library = open_library(tmp_path / "state")
    sent = [make_zip(tmp_path / "sent" / "lecture.zip")] if as_zip else sorted(make_folder(tmp_path / "sent").iterdir())
    found = library.preview(sent)
    assert found.can_be_added
    assert found.report.figures == len(CAPTIONS)
    assert sum(found.report.skipped.values()) == LEFT_OUT
    shown = figure_library_html.preview(found)
    assert f"{LEFT_OUT} rows would be left out" in shown
    assert "no caption" in shown and "nowhere.png" in shown and "retina.png" in shown
    assert not (tmp_path / "state" / "index").exists()
    library.discard(found)
    assert not found.file.exists()


@pytest.mark.parametrize("case", ["no zip", "outside", "too large", "no table", "one name twice"])
def test_what_cannot_be_added_is_refused_in_a_sentence(tmp_path, case):
    library = open_library(tmp_path, max_corpus_mb=0.5)
    file = tmp_path / "sent.zip"
    files = [file]
    if case == "no zip":
        file.write_bytes(b"PK no archive")
    elif case == "one name twice":
        files = [tmp_path / folder / "a.png" for folder in ("one", "two")]
        for path in files:
            path.parent.mkdir()
            path.write_bytes(b"x")
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("../a.csv" if case == "outside" else "a.txt", b"0" * (10**6 if case == "too large" else 9))
    found = library.preview(files)
    assert not found.can_be_added
    assert found.problem.endswith((".", "FOLDER"))
    assert "problem" in figure_library_html.preview(found)


def test_what_was_added_is_found_by_words_and_by_image(library):
    by_words = library.find(Query("axial CT of the head"), Filters())
    assert by_words.hits[0].figure.caption == CAPTIONS["ct-head.png"]
    by_image = library.find(Query("", upload("mri-brain.png")), Filters())
    assert by_image.hits[0].figure.caption == CAPTIONS["mri-brain.png"]
    shown = figure_library_html.results(by_image, library.picture)
    assert 'src="../thumbnails?figure=own%2F' in shown
    assert "data:image/jpeg;base64," in shown


def test_more_like_a_figure_is_within_the_filters_and_says_what_it_is_like(library):
    hit = library.find(Query("axial CT of the head"), Filters()).hits[0]
    query = Query(figure=library.figure(hit.figure.figure_id))
    modalities = {found.figure.modality for found in library.find(query, Filters()).hits}
    assert "MRI" in modalities and hit.figure.modality not in modalities
    found = library.find(query, Filters(modalities=frozenset({"MRI"})))
    assert {found.figure.modality for found in found.hits} == {"MRI"}
    assert f'figure like <a href="?figure=own%2F{hit.figure.graphic}' in figure_library_html.results(
        found, library.picture
    )


def test_nothing_is_found_outside_the_filters_and_that_is_said(library):
    found = library.find(Query("axial CT of the head"), Filters(modalities=frozenset({"mammography"})))
    assert "within these filters" in figure_library_html.results(found, figure_cards.no_pictures)


@pytest.mark.parametrize(
    ("query", "words"), [(Query(), "Write what to look for"), (Query("x" * 5000), "at most 2,000 characters")]
)
def test_what_cannot_be_looked_for_is_said(library, query, words):
    assert words in figure_library_html.results(library.find(query, Filters()), figure_cards.no_pictures)


def test_a_figure_has_a_page_with_similar_ones(library):
    hit = library.find(Query("echocardiogram of the heart"), Filters()).hits[0]
    page = library.figure_page(hit.figure.figure_id)
    assert page.figure == hit.figure
    assert hit.figure.figure_id not in {similar.figure.figure_id for similar in page.similar}
    shown = figure_library_html.figure_page(page, library.picture, library.large_picture)
    assert 'src="../pictures?figure=own%2F' in shown
    for part in ("CC BY 4.0", "2021", "copy attribution", hit.figure.caption):
        assert part in shown
    assert library.figure_page("own/nothing") is None


def test_a_figures_page_names_the_same_picture_elsewhere(tmp_path):
    folder = make_folder(tmp_path / "sent", faults=False)
    with Image.open(EXAMPLES / "ct-head.png") as picture:
        picture.convert("RGB").save(folder / "again.jpg", quality=95)
    with (folder / "table.csv").open("a") as table:
        table.write("again.jpg,The same slice of the head in another file.,CC0,2021\n")
    library = open_library(tmp_path)
    library.add(library.preview(sorted(folder.iterdir()))).wait()
    hit = library.find(Query("axial CT of the head"), Filters()).hits[0]
    page = library.figure_page(hit.figure.figure_id)
    assert {figure.license for figure in (page.figure, *page.also)} == {"CC BY 4.0", "CC0"}
    assert hit.also == tuple(page.also)
    assert "The same figure" in figure_library_html.figure_page(page, library.picture, library.large_picture)


def test_the_overview_counts_by_corpus(library):
    shown = overview(library.overview())
    assert "3 figures" in shown and "CC BY 4.0 <b>3</b>" in shown
    assert all(modality in shown for modality in ("CT", "MRI", "ultrasound"))


def test_without_an_index_every_part_says_so(tmp_path):
    library = open_library(tmp_path)
    assert library.find(Query("effusion"), Filters()).problem == NO_FIGURES
    with pytest.raises(IndexMissingError):
        library.overview()


def test_a_deleted_corpus_and_its_copies_are_gone(tmp_path):
    library = open_library(tmp_path)
    library.add(library.preview([make_zip(tmp_path / "sent" / "lecture.zip", faults=False)])).wait()
    assert library.find(Query("axial CT of the head"), Filters()).hits
    job = library.delete("own")
    job.wait()
    assert (job.state, job.told()) == ("done", "3 figures deleted from the index.")
    assert not list((tmp_path / "corpora").glob("own/*"))
    assert not list((tmp_path / "index" / "thumbnails").rglob("*.jpg"))
    assert library.find(Query("axial CT of the head"), Filters()).problem == NO_FIGURES
    assert library.stage()


def test_a_name_that_is_no_corpus_deletes_nothing(own):
    library = open_library(own)
    for name in ("../corpora", "..", "", "nonsense"):
        job = library.delete(name)
        job.wait()
        assert job.told() == "0 figures deleted from the index."
    assert library.overview().figures == len(CAPTIONS)
    assert list((own / "corpora").glob("own/*"))


async def test_another_upload_takes_the_place_of_the_last_one(tmp_path):
    settings = Settings(data_dir=tmp_path)
    session = LibrarySession(Library(FigureSearch(settings), settings), settings)
    previews = []
    for name in ("first", "second"):
        file = make_zip(tmp_path / name / "lecture.zip")
        shown = [shown async for shown in session.look_at(str(file), previews[-1] if previews else None)]
        assert "reading what you sent" in shown[0][0]
        previews.append(shown[-1][1])
    assert [found.file.exists() for found in previews] == [False, True]
    await session.discard(previews[-1])
    assert not previews[-1].file.exists()


def test_another_process_that_writes_is_told_in_a_sentence(tmp_path):
    library = open_library(tmp_path)
    found = library.preview([make_zip(tmp_path / "sent" / "lecture.zip", faults=False)])
    with Store(tmp_path / "index").writing():
        job = library.add(found)
        job.wait()
    assert job.state == "failed"
    assert "being written" in job.told()
    assert found.file.exists()


def test_one_job_at_a_time_and_a_stopped_one_says_what_is_kept():
    jobs, goes_on = Jobs(), threading.Event()

    def work(progress):
        for done in range(1000):
            progress("embed", done, 1000)
            goes_on.wait(0.01)
        return "never"

    job = jobs.start("Adding lecture.zip", work)
    with pytest.raises(IndexBusyError, match=r"being written \(Adding lecture.zip"):
        jobs.start("Rebuilding", work)
    assert "<progress" in figure_library_html.job(job)
    job.stop()
    assert job.wait(10)
    assert (job.state, job.told()) == ("stopped", STOPPED)
    assert jobs.start("Rebuilding", lambda progress: "Done.").wait(10)


@pytest.mark.parametrize(
    ("error", "words"), [(CorpusError("There is no table."), "There is no table."), (ZeroDivisionError(), "was logged")]
)
def test_a_failed_job_says_why(error, words):
    def work(progress):
        raise error

    job = Jobs().start("Adding", work)
    job.wait(10)
    assert job.state == "failed"
    assert words in figure_library_html.job(job)


def test_the_pace_tells_the_time_left():
    now = iter([0.0, 0.0, 1.0, 10.0])
    pace = Pace(lambda: next(now))
    assert pace.told("embed", 0, 1000) == "embedding figures: 0 of 1,000"
    assert pace.told("embed", 10, 1000) == "embedding figures: 10 of 1,000"
    assert pace.told("embed", 200, 1000) == "embedding figures: 200 of 1,000, about 40 s left"


@pytest.mark.parametrize(
    ("relevance", "words"), [(0.82, "likely relevant (82 %)"), (0.6, "possibly relevant (60 %)"), (None, "")]
)
def test_relevance_is_in_words_first(relevance, words):
    assert figure_cards.relevance(Hit(figure(), 0.5, 1, ("text",), relevance=relevance)) == words


def test_the_attribution_has_what_a_slide_needs():
    assert figure_cards.attribution(figure(year=2019)) == "Figure 2, PMC1, 2019, CC BY, https://example.org/PMC1"


@pytest.mark.parametrize("address", ["https://example.org/a.jpg", "http://example.org/a.jpg", None])
@pytest.mark.parametrize("remote", [False, True])
def test_pictures_of_other_sites_are_shown_only_where_that_is_turned_on(tmp_path, address, remote):
    library = open_library(tmp_path, remote_thumbnails=remote)
    shown = library.picture(figure(image_url=address))
    assert shown == (address if remote and address and address.startswith("https://") else "")


def test_what_a_corpus_wrote_cannot_become_markup():
    hostile = figure(
        figure_id=f'a/"{SCRIPT}', label=SCRIPT, caption=SCRIPT, license=SCRIPT, modality=SCRIPT, region=SCRIPT,
        description=SCRIPT, findings=(SCRIPT,), article_url=f'https://x/"{SCRIPT}', source=SCRIPT, image_path="/x.png",
    )  # fmt: skip
    hit = Hit(hostile, 0.5, 1, ("text",), also=(hostile,))

    def elsewhere(_: Figure) -> str:
        return "https://example.org/a.jpg"

    shown = figure_library_html.results(Results(Query(SCRIPT), [hit]), elsewhere)
    shown += figure_library_html.figure_page(FigurePage(hostile, (hostile,), (hit,)), elsewhere, elsewhere)
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    # "/x.png" would tell where things lie on this machine.
    assert "/x.png" not in shown


def test_the_pages_know_each_other(tmp_path):
    settings = Settings(data_dir=tmp_path)
    assert '<a href="../library/" aria-current=page>Library</a>' in header("Library", settings)
    assert '<a href="./library/">Library</a>' in header("Chat", settings)


def test_a_follow_up_goes_on_from_the_questions_since_the_last_image():
    image = upload("ct-head.png")
    history = [Turn("a"), Turn("b", (image,)), Turn("c")]
    assert earlier_questions(history) == ["b", "c"]
    assert earlier_questions(history[:1]) == ["a"]
    assert earlier_questions([]) == []


async def test_the_chat_searches_with_the_whole_question_and_says_so(own):
    figures = FigureSearch(Settings(data_dir=own))
    _, notes = await figures.search("And on CT?", None, 3, earlier=["What does a normal head look like?"])
    assert notes[0].startswith("searched for: ")
    assert "head" in notes[0] and "CT" in notes[0]
    assert (await figures.search("axial CT of the head", None, 3, earlier=["What is the liver?"]))[1] == ()
