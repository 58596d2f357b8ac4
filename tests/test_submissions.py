"""Submissions are found by their names alone, and whatever a student's bytes are, they cost nobody but that student."""

import contextlib
import functools
import io
import json
import os
import stat
import struct
import sys
import tracemalloc
import zipfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import nbformat
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from course_utils.coursework.grade import submissions
from course_utils.coursework.grade.answers import UnreadableError
from course_utils.coursework.grade.submissions import (
    HIDDEN,
    MAX_CANDIDATES,
    Place,
    digest_of,
    file_name,
    find_places,
    open_place,
    printable,
)
from course_utils.coursework.source.notebooks import NotebookError, notebook_bytes, read_notebook, student_copy
from course_utils.errors import CourseError

CASES = Path(__file__).parent / "cases" / "grading"
START, MONTE_CARLO = "00_start_here.ipynb", "02_simple_monte_carlo.ipynb"
NAMES = (START, MONTE_CARLO)
# Enough to meet every kind of failure that the tests name, and few enough for the whole file to take some 20 seconds.
settings.register_profile(
    "submissions",
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
bounded = settings(settings.get_profile("submissions"))


@dataclass(frozen=True)
class Cells:
    """A small stand-in for the answers in a notebook: the sources of its code cells."""

    sources: tuple[str, ...]
    untouched: bool


def sources_of(notebook) -> tuple[str, ...]:
    return tuple(str(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")


@functools.cache
def given_sources(name: str) -> tuple[str, ...]:
    return sources_of(student_copy(read_notebook(CASES / "source" / name)))


def read(name: str, content: bytes) -> Cells:
    """Read a notebook; only what is untouched has the sources of the student's copy."""
    try:
        notebook = json.loads(content)
        sources = sources_of({"cells": [cell | {"source": "".join(cell["source"])} for cell in notebook["cells"]]})
    except (ValueError, KeyError, TypeError):
        raise UnreadableError("The file is not a Jupyter notebook.") from None
    return Cells(sources, sources == given_sources(name))


def untouched(name: str = START) -> bytes:
    return notebook_bytes(student_copy(read_notebook(CASES / "source" / name)))


def answered(text: str, name: str = START) -> bytes:
    """A notebook that was worked on."""
    notebook = student_copy(read_notebook(CASES / "source" / name))
    notebook.cells.append(nbformat.v4.new_code_cell(text, id="own"))
    return notebook_bytes(notebook)


def archive(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name), content, method)
    return path


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def opened(place: Path, names=NAMES, read=read):
    """Open one student's folder or archive."""
    (found,) = [each for each in find_places(place.parent) if each.files[0].name == place.name]
    return open_place(found, names, read)


def unreadable(place: Path, notebook: str = START) -> str:
    """Return the sentence that says why, after seeing that nothing else is said of it."""
    chosen = opened(place).notebooks[notebook]
    assert chosen.content is None
    assert chosen.digest == ""
    assert chosen.unreadable.endswith(".")
    assert chosen.unreadable.isprintable()
    return chosen.unreadable


# --- who handed in ---


@pytest.mark.parametrize(
    ("name", "student", "number"),
    [
        ("team_1_4711_815_00_start_here.ipynb", "team_1_4711", "4711"),
        ("van_dorpjan_4713_817_00_start_here.ipynb", "van_dorpjan_4713", "4713"),
        ("lovelaceada_4711_815_00_start_here.ipynb", "lovelaceada_4711", "4711"),
        ("lovelaceada_4711_815_10_flows.ipynb", "lovelaceada_4711", "4711"),
        ("lovelaceada_4711_815_00_start_here-1.ipynb", "lovelaceada_4711", "4711"),
        ("hoppergrace_LATE_12_816_work.zip", "hoppergrace_12", "12"),
        ("team_1_LATE_4711_815_work.zip", "team_1_4711", "4711"),
        ("quin_9_10_01_toy.ipynb", "quin_9", "9"),
        ("quin_9_10_12_flows.ipynb", "quin_9", "9"),
        ("team_1_4711_815_work.zip", "team_1_4711", "4711"),
        ("team_1_4711_815_2_work.zip", "team_1_4711", "4711"),
        ("lovelaceada_4711_815_2_work.zip", "lovelaceada_4711", "4711"),
        ("muñozjosé_4711_815_work.zip", "muñozjosé_4711", "4711"),
        ("лавлейсада_4711_815_work.zip", "лавлейсада_4711", "4711"),
        ("lovelaceada_4711_815_00_start_here.ipynb.txt", "lovelaceada_4711", "4711"),
        ("anon_aB3dE_815_00_start_here.ipynb", "anon_aB3dE", ""),
        ("LATE_anon_12345_815_work.zip", "anon_12345", ""),
        ("Ada Lovelace_4711_assignsubmission_file_00_start_here.ipynb", "Ada Lovelace_4711", ""),
        ("Team 1_7_assignsubmission_file_work.zip", "Team 1_7", ""),
        ("ada.zip", "ada", ""),
        ("ada.tar.gz", "ada", ""),
        ("ada.IPYNB", "ada", ""),
        ("ada.ipynb.txt", "ada", ""),
    ],
)
def test_a_file_is_the_student_s_who_stands_in_its_name(tmp_path, name, student, number):
    (tmp_path / name).write_bytes(b"")
    (place,) = find_places(tmp_path)
    assert (place.student, place.canvas_id) == (student, number)
    assert place.files == (tmp_path / name,)


def test_the_files_that_a_platform_names_are_one_student_s(tmp_path):
    for name in ("ada_7_815_work.zip", "ada_7_816_00_start_here.ipynb", "ada_8_817_work.zip"):
        (tmp_path / name).write_bytes(b"")
    assert [(place.student, len(place.paths)) for place in find_places(tmp_path)] == [("ada_7", 2), ("ada_8", 1)]


def test_moodle_s_online_texts_are_no_students(tmp_path):
    folder(tmp_path / "Rita Roe_12345_assignsubmission_file_", {START: answered("1")})
    folder(tmp_path / "Sam Poe_12346_assignsubmission_file", {START: answered("2")})
    folder(tmp_path / "Rita Roe_12345_assignsubmission_onlinetext_", {"onlinetext.html": b"Dear teacher"})
    (tmp_path / "Rita Roe_12345_assignsubmission_onlinetext_onlinetext.html").write_bytes(b"Dear teacher")
    places = find_places(tmp_path)
    assert [place.student for place in places] == ["Rita Roe_12345", "Sam Poe_12346"]
    assert [open_place(place, NAMES, read).notebooks[START].content.sources[-1] for place in places] == ["1", "2"]


def test_what_is_nobody_s_is_passed_over(tmp_path):
    folder(tmp_path / "ada", {START: answered("")})
    for name in (".DS_Store", "._ada.zip", "read me.txt", "grades.csv", "__MACOSX"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".git").mkdir()
    assert [place.student for place in find_places(tmp_path)] == ["ada"]


def test_two_submissions_of_one_student_are_for_the_instructor_to_sort_out(tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada.zip").write_bytes(b"")
    with pytest.raises(NotebookError, match=r"two submissions of ada, ada and ada\.zip"):
        find_places(tmp_path)


def test_a_folder_without_submissions_is_refused(tmp_path):
    with pytest.raises(NotebookError, match="holds no submissions"):
        find_places(tmp_path)
    with pytest.raises(NotebookError, match="cannot be read as a folder"):
        find_places(tmp_path / "nowhere")


OPENED_FILES: list[str] | None = None


def _note_what_is_opened(event: str, arguments: tuple) -> None:
    if event == "open" and OPENED_FILES is not None and not isinstance(arguments[0], int):
        OPENED_FILES.append(str(arguments[0]))


sys.addaudithook(_note_what_is_opened)


@contextlib.contextmanager
def watched():
    """Collect the names of all files that Python opens."""
    global OPENED_FILES
    OPENED_FILES = files = []
    try:
        yield files
    finally:
        OPENED_FILES = None


def test_finding_who_handed_in_opens_nothing(tmp_path):
    folder(tmp_path / "ada", {START: answered("")})
    archive(tmp_path / "bob.zip", {START: answered("")})
    os.mkfifo(tmp_path / "eve.zip")
    with watched() as files:
        places = find_places(tmp_path)
    assert files == []
    with watched() as files:
        open_place(places[0], NAMES, read)
    assert files == [str(tmp_path / "ada" / START)]


def test_names_that_are_no_text_are_two_students(tmp_path):
    for name in (b"Jos\xe9", b"Jos\xe8", "José".encode(), rb"Jos\xe9"):
        os.mkdir(os.fsencode(tmp_path) + b"/" + name)
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name), START).write_bytes(answered(repr(name)))
    places = find_places(tmp_path)
    assert {place.student for place in places} == {r"Jos\xe9", r"Jos\xe8", "José", r"Jos\\xe9"}
    # They travel as JSON, and are still found.
    travelled = msgspec.json.decode(msgspec.json.encode(places), type=tuple[Place, ...])
    texts = {place.student: open_place(place, NAMES, read).notebooks[START].content.sources[-1] for place in travelled}
    assert texts[r"Jos\xe9"] == repr(b"Jos\xe9")
    assert texts[r"Jos\xe8"] == repr(b"Jos\xe8")
    assert len({file_name(place.student).casefold() for place in places}) == 4


def test_names_hold_nothing_that_a_terminal_obeys(tmp_path):
    for name in ("\x1b[2Jada", "ada\nbob", "ada\u202ebob", "ada\u0085"):
        (tmp_path / name).mkdir()
    students = [place.student for place in find_places(tmp_path)]
    assert students == sorted([r"\u001b[2Jada", r"ada\u000abob", r"ada\u202ebob", r"ada\u0085"])


@bounded
@given(st.lists(st.text(max_size=40) | st.binary(max_size=40).map(lambda name: os.fsdecode(name)), unique=True))
@example(["Ada", "ada", "ADA"])
@example(["jose\u0301", "jos\u00e9"])
@example(["\udc85", "\x85", r"\x85", r"\u0085"])
@example(["a" * 300, "a" * 301])
@example(["con", "nul.txt", "", ".", "-rf", "a/b", "a\\b"])
@example(["Rita Roe", file_name("Rita Roe"), file_name("Rita Roe").lower()])
def test_different_names_stay_different_and_harmless(names):
    shown = [printable(name) for name in names]
    assert len(set(shown)) == len(names)
    assert all(name.isprintable() and name.encode() is not None for name in shown)
    files = [file_name(name) for name in shown]
    assert len({name.casefold() for name in files}) == len(names)
    for name in files:
        assert 0 < len(name) <= 80
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        assert name[0] not in ".-"
        assert name.split(".")[0].lower() not in submissions.DEVICES


NAMES_OF_CANVAS = ["_", "1", "4711", "815", "LATE", "ada", "anon", "00_start_here", ".ipynb", ".zip", "é"]
NAMES_OF_OTHERS = ["_assignsubmission_file_", "_assignsubmission_onlinetext_", ".txt", ".", "(1)", " ", "\n", "\udce9"]
NAME_PARTS = st.sampled_from(NAMES_OF_CANVAS) | st.sampled_from(NAMES_OF_OTHERS)
FILE_NAMES = st.lists(NAME_PARTS, min_size=1, max_size=12).map("".join)


@bounded
@given(st.lists(FILE_NAMES, min_size=1, max_size=6, unique=True))
def test_no_name_of_a_file_hides_another_student(tmp_path_factory, names):
    """Whatever the names are: everybody's bytes are in one place, under a printable name; or a sentence says what to do."""
    here = tmp_path_factory.mktemp("names")
    for name in names:
        (here / name).write_bytes(b"") if name.strip(".") else None
    try:
        places = find_places(here)
    except NotebookError:
        return
    files = [file for place in places for file in place.files]
    assert len(set(files)) == len(files)
    assert len({place.student for place in places}) == len(places)
    assert all(place.student.isprintable() for place in places)
    for path in here.iterdir():
        is_text = "_assignsubmission_onlinetext_" in path.name
        if path.name.endswith((".ipynb", ".zip")) and not path.name.startswith(HIDDEN) and not is_text:
            assert path in files
    for place in places:
        open_place(place, NAMES, read)


# --- which file counts ---


def test_files_of_canvas_are_found_under_their_long_names():
    places = {place.student: place for place in find_places(CASES / "canvas-underscore")}
    assert {student: place.canvas_id for student, place in places.items()} == {
        "team_1_4711": "4711",
        "van_dorpjan_4713": "4713",
    }
    for place in places.values():
        chosen = open_place(place, NAMES, read).notebooks[START]
        assert chosen.digest == digest_of(place.files[0].read_bytes())


def test_the_later_of_two_files_counts_also_with_a_stub_line_left():
    chosen = opened(CASES / "older-file-wins" / "ada").notebooks[START]
    assert chosen.digest == digest_of((CASES / "older-file-wins" / "ada" / "00_start_here (2).ipynb").read_bytes())
    assert chosen.note == "2 files have its name; 00_start_here (2).ipynb counts."


def test_a_notebook_called_txt_is_named():
    assert opened(CASES / "txt-ending" / "txt").others == ("00_start_here.ipynb.txt",)
    assert opened(CASES / "txt-ending" / "txt").notebooks[START] == submissions.OpenedNotebook()


def test_a_stub_line_left_is_work():
    ada, bob = (opened(CASES / "untouched-beside-right" / student).notebooks for student in ("ada", "bob"))
    assert ada[START].content is not None
    assert not ada[START].content.untouched
    assert ada[MONTE_CARLO] == submissions.OpenedNotebook()
    assert bob[MONTE_CARLO].content is not None


@pytest.mark.parametrize(
    "case", sorted(path.parent.name for path in CASES.glob(f"*/{MONTE_CARLO}") if path.parent.name != "source")
)
def test_every_case_is_found_as_it_is(case):
    chosen = opened(CASES / case).notebooks[MONTE_CARLO]
    assert chosen.digest == digest_of((CASES / case / MONTE_CARLO).read_bytes())
    assert not chosen.content.untouched
    assert not chosen.note


@pytest.mark.parametrize("is_archive", [False, True])
@pytest.mark.parametrize(
    ("right", "others"),
    [
        (f"work/{START}", {f"old/{START}": answered("older")}),
        (f"vi/work/{START}", {f"vi/notebooks/{START}": untouched()}),
        (START, {f"work/{START}": untouched()}),
        ("00_start_here (1).ipynb", {START: answered("older")}),
        ("00_start_here (10).ipynb", {"00_start_here (9).ipynb": answered("older")}),
        ("00_start_here-2.ipynb", {START: answered("older")}),
        ("00_start_here-Copy1.ipynb", {START: untouched()}),
        (START, {"00_start_here-Copy1.ipynb": answered("a try")}),
        ("00_start_here.update-0a1b2c3d.ipynb", {START: untouched()}),
        (START, {"00_start_here.update-0a1b2c3d.ipynb": untouched()}),
        (START, {"00_start_here (2).ipynb": b"half of a note"}),
        ("Copy of 00_start_here.ipynb", {}),
        ("00_start_here_final.ipynb", {}),
        ("00_start_here.ipynb.ipynb", {}),
        ("00_start_here[1].ipynb", {}),
        ("00_START_HERE.IPYNB", {}),
        (START, {f".ipynb_checkpoints/{START}": answered("older"), f"__MACOSX/._{START}": b"\x00"}),
    ],
)
def test_of_several_files_that_counts_which_was_worked_on_last(tmp_path, right, others, is_archive):
    files = {right: answered("right")} | others
    place = archive(tmp_path / "ada.zip", files) if is_archive else folder(tmp_path / "ada", files)
    chosen = opened(place).notebooks[START]
    assert chosen.content.sources[-1] == "right"
    assert chosen.digest == digest_of(files[right])
    visible = [name for name in files if not name.startswith(HIDDEN)]
    num_worked_on = sum(files[name] != untouched() for name in visible)
    assert chosen.note == ("" if num_worked_on == 1 else f"{num_worked_on} files have its name; {right} counts.")


@pytest.mark.parametrize("name", ["100_start_here.ipynb", "00_start_hereafter.ipynb", "start_here.ipynb"])
def test_another_name_is_another_notebook_and_named(tmp_path, name):
    found = opened(folder(tmp_path / "ada", {name: answered("")}))
    assert found.notebooks[START] == submissions.OpenedNotebook()
    assert found.others == (name,)


def test_of_files_from_canvas_the_later_attachment_counts(tmp_path):
    """Whether it is an archive or not, and by the number, of which 10 is later than 9."""
    right, older = answered("right"), answered("older")
    (tmp_path / f"quin_9_9_{START}").write_bytes(older)
    archive(tmp_path / "quin_9_10_work.zip", {START: right})
    archive(tmp_path / "rita_7_9_work.zip", {START: older})
    (tmp_path / f"rita_7_10_{START}").write_bytes(right)
    for place, name in zip(find_places(tmp_path), (f"quin_9_10_work.zip/{START}", f"rita_7_10_{START}"), strict=True):
        chosen = open_place(place, NAMES, read).notebooks[START]
        assert chosen.content.sources[-1] == "right"
        assert chosen.note == f"2 files have its name; {name} counts."


def test_a_damaged_file_from_canvas_does_not_hide_the_others(tmp_path):
    (tmp_path / f"quin_9_9_{START}").write_bytes(answered("right"))
    (tmp_path / "quin_9_10_work.zip").write_bytes(b"no archive")
    (place,) = find_places(tmp_path)
    chosen = open_place(place, NAMES, read).notebooks
    assert chosen[START].content.sources[-1] == "right"
    assert "quin_9_10_work.zip is damaged" in chosen[START].note
    assert "quin_9_10_work.zip is damaged" in chosen[MONTE_CARLO].unreadable


def test_of_two_files_of_one_name_in_an_archive_the_later_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "ada.zip", "w") as made:
        made.writestr(START, answered("older"))
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr(START, answered("right"))
    assert opened(tmp_path / "ada.zip").notebooks[START].content.sources[-1] == "right"


def test_what_may_have_been_meant_as_a_notebook_is_named(tmp_path):
    files = (
        "a.json",
        "homework.rar",
        f"{START}.json",
        "homework2.ipynb",
        "essay.pdf",
        ".hidden.ipynb",
        "\x1b[2J.ipynb",
    )
    found = opened(folder(tmp_path / "ada", dict.fromkeys(files, b"")))
    named = (r"\u001b[2J.ipynb", "homework2.ipynb", f"{START}.json", "homework.rar", "a.json", "essay.pdf")
    assert found.others == named


def test_whatever_a_platform_calls_a_students_is_one(tmp_path):
    """Somebody who hands in a PDF has handed in something, and is told what was missing."""
    (tmp_path / "quin_9_10_essay.pdf").write_bytes(b"%PDF")
    (tmp_path / "instructions.pdf").write_bytes(b"%PDF")
    (place,) = find_places(tmp_path)
    assert (place.student, place.canvas_id) == ("quin_9", "9")
    assert open_place(place, NAMES, read).others == ("quin_9_10_essay.pdf",)


def zipped(files: dict[str, bytes]) -> bytes:
    """An archive as it was uploaded."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name, text in files.items():
            made.writestr(name, text)
    return content.getvalue()


def test_archives_in_a_student_s_folder_are_opened_as_moodle_keeps_them(tmp_path):
    of_zoe = {"Homework.ZIP": zipped({f"vi/work/{START}": answered("right"), "inner.zip": zipped({MONTE_CARLO: b""})})}
    chosen = opened(folder(tmp_path / "Zoë Roe_123_assignsubmission_file_", of_zoe))
    assert chosen.notebooks[START].content.sources[-1] == "right"
    assert chosen.notebooks[MONTE_CARLO] == submissions.OpenedNotebook()
    assert chosen.others == ("Homework.ZIP/inner.zip",)


def test_of_archives_in_one_folder_the_later_counts(tmp_path):
    both = {name: zipped({START: answered(name)}) for name in ("homework.zip", "homework (1).zip")}
    chosen = opened(folder(tmp_path / "ada", both)).notebooks[START]
    assert chosen.content.sources[-1] == "homework (1).zip"
    assert chosen.note == f"2 files have its name; homework (1).zip/{START} counts."


def test_an_archive_that_cannot_be_opened_takes_nothing_away_from_what_lies_beside_it(tmp_path):
    out_of_it = zipped({f"../bob/{START}": answered("")})
    files = {START: answered("right"), "a.zip": b"damaged", "b.zip": out_of_it}
    chosen = opened(folder(tmp_path / "ada", files)).notebooks[START]
    assert chosen.content.sources[-1] == "right"
    assert "a.zip is damaged" in chosen.note and "leads out of it" in chosen.note
    assert "a.zip is damaged" in unreadable(folder(tmp_path / "bob", {"a.zip": b"damaged"}))


def test_archives_in_a_folder_share_one_allowance(tmp_path, monkeypatch):
    many = {f"{number}.zip": zipped({}) for number in range(submissions.MAX_ARCHIVES + 9)}
    assert unreadable(folder(tmp_path / "ada", many)) == "There are more than 24 archives: hand in the notebooks alone."
    monkeypatch.setattr(submissions, "MAX_UNPACKED_BYTES", 3 * len(untouched()))
    copies = {f"{number}.zip": zipped({START: untouched()}) for number in range(9)}
    assert "There is more to read" in unreadable(folder(tmp_path / "bob", copies))


@pytest.mark.parametrize("name", ["{}_1_assignsubmission_file_/{}.zip", "{}_4711_815_{}"])
def test_what_a_platform_packed_for_a_whole_class_is_no_student_s(tmp_path, name):
    of_class = {name.format(student, START): answered(student) for student in ("ada", "bob")}
    assert "several students" in unreadable(archive(tmp_path / "class.zip", of_class))


# --- what is refused ---


@pytest.mark.parametrize("name", ["loose.ipynb", "tar.tar.gz", "txt.ipynb.txt"])
def test_a_loose_file_is_named_and_nothing_else(tmp_path, name):
    (tmp_path / name).write_bytes(answered(""))
    assert f"{name} is neither a folder nor a zip archive" in unreadable(tmp_path / name)


def test_neither_links_nor_pipes_nor_devices_are_opened(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(answered("secret"))
    class_folder = tmp_path / "class"
    for student in ("link", "pipe", "linked-folder-inside", "device"):
        (class_folder / student).mkdir(parents=True)
    (class_folder / "link" / START).symlink_to(secret)
    os.mkfifo(class_folder / "pipe" / START)
    (class_folder / "device" / START).symlink_to("/dev/zero")
    folder(tmp_path / "elsewhere", {START: answered("secret")})
    (class_folder / "linked-folder-inside" / "work").symlink_to(tmp_path / "elsewhere")
    (class_folder / "linked-folder").symlink_to(tmp_path / "elsewhere")
    (class_folder / "linked.zip").symlink_to(archive(tmp_path / "elsewhere.zip", {START: answered("secret")}))
    os.mkfifo(class_folder / "pipe2.zip")
    with watched() as files:
        for student in ("link", "pipe", "device", "pipe2.zip"):
            assert "not a regular file" in unreadable(class_folder / student)
        for student in ("linked-folder", "linked.zip"):
            assert "links are not followed" in unreadable(class_folder / student)
        assert opened(class_folder / "linked-folder-inside").notebooks[START] == submissions.OpenedNotebook()
    assert files == []


def test_an_archive_that_leads_out_of_itself_is_refused(tmp_path):
    for number, name in enumerate((f"../ada/{START}", f"/ada/{START}", f"..\\ada\\{START}")):
        place = archive(tmp_path / f"{number}.zip", {name: answered(""), f"work/{START}": answered("")})
        assert "a path that leads out of it" in unreadable(place)
    link = zipfile.ZipInfo(START)
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as made:
        made.writestr(link, "/etc/passwd")
    assert "holds a link" in unreadable(tmp_path / "link.zip")


def test_a_locked_archive_says_so(tmp_path):
    content = bytearray(archive(tmp_path / "ada.zip", {START: answered("")}).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    (tmp_path / "ada.zip").write_bytes(content)
    assert "locked with a password" in unreadable(tmp_path / "ada.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_way_of_packing_says_so(tmp_path, method):
    place = archive(tmp_path / "ada.zip", {START: answered("")}, method)
    assert "pack it as an ordinary zip archive" in unreadable(place)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_takes_no_more_memory_than_a_notebook_may(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "ada.zip", "w", method) as made, made.open(START, "w") as file:
        for _ in range(100):
            file.write(bytes(1_000_000))
    tracemalloc.start()
    try:
        sentence = unreadable(tmp_path / "ada.zip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ("larger than 64 MB" if method == zipfile.ZIP_DEFLATED else "unusual way") in sentence
    assert peak < 2 * submissions.MAX_NOTEBOOK_BYTES


def test_a_file_that_says_it_is_huge_is_not_read(tmp_path):
    (tmp_path / "ada").mkdir()
    with open(tmp_path / "ada" / START, "wb") as file:
        file.truncate(1 << 40)
    assert "larger than 64 MB" in unreadable(tmp_path / "ada")


def test_a_long_list_of_files_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    """An archive's list of files may be longer than it says, and need not have any files behind it."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, *[0] * 15)
    parsed = []
    monkeypatch.setattr(zipfile.ZipInfo, "_decodeExtra", lambda self, *arguments: parsed.append(self))
    for number in (submissions.MAX_FILES + 1, 200_000):
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry) * number, 0, 0)
        (tmp_path / "ada.zip").write_bytes(entry * number + end)
        assert "more than 10000 files" in unreadable(tmp_path / "ada.zip")
    assert parsed == []


def test_an_archive_of_copies_costs_as_much_as_a_few(tmp_path):
    """15,000 copies are refused at once; of fewer, a few are read, and a sentence says so."""
    many = {f"{number}/{START}": b"" for number in range(15_000)}
    assert "more than 10000 files" in unreadable(archive(tmp_path / "many.zip", many, zipfile.ZIP_STORED))
    calls = []

    def counted(name, content):
        calls.append(name)
        return read(name, content)

    some = {f"{number:03}/{START}": answered("right") for number in range(300)}
    chosen = opened(archive(tmp_path / "some.zip", some), read=counted).notebooks[START]
    assert len(calls) == MAX_CANDIDATES
    assert chosen.content.sources[-1] == "right"
    assert chosen.note == f"300 files have its name, of which 24 were read; 000/{START} counts."
    # The right one may be among those that were not read, so that nobody can say that nothing was answered.
    same = dict.fromkeys(some, untouched())
    assert "300 files have its name; of these 24 were read" in unreadable(archive(tmp_path / "same.zip", same))
    assert "300 files have its name; of these 24 were read" in unreadable(folder(tmp_path / "folder", same))


def test_a_folder_may_be_neither_too_deep_nor_too_full(tmp_path):
    deep = "/".join("d" * (submissions.MAX_DEPTH + 1))
    assert "30 folders in one another" in unreadable(folder(tmp_path / "deep", {f"{deep}/{START}": answered("")}))
    assert "30 folders in one another" in unreadable(archive(tmp_path / "a.zip", {f"{deep}/{START}": answered("")}))
    full = tmp_path / "full"
    full.mkdir()
    for number in range(submissions.MAX_FILES + 1):
        (full / str(number)).touch()
    assert "more than 10000 files" in unreadable(full)


def test_what_takes_too_long_is_left(tmp_path, monkeypatch):
    place = folder(tmp_path / "ada", {f"{number}/{START}": answered("") for number in range(5)})
    now = 0.0

    def slow(name, content):
        nonlocal now
        now += submissions.MAX_SECONDS
        raise UnreadableError("This one is nothing.")

    monkeypatch.setattr(submissions.time, "thread_time", lambda: now)
    chosen = opened(place, names=(START, MONTE_CARLO), read=slow).notebooks
    assert chosen[START].unreadable == "This one is nothing."
    assert now == 2 * submissions.MAX_SECONDS


def test_all_files_together_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MAX_UNPACKED_BYTES", 3 * len(answered("right")))
    calls = []

    def failing(name, content):
        calls.append(name)
        raise UnreadableError("This one is nothing.")

    place = archive(tmp_path / "ada.zip", {f"{number}/{START}": answered("right") for number in range(9)})
    assert opened(place, read=failing).notebooks[START].unreadable == "This one is nothing."
    assert len(calls) == 3


@pytest.mark.parametrize(
    "error", [ValueError, RecursionError, MemoryError, OverflowError, struct.error, AssertionError, OSError]
)
def test_whatever_a_notebook_does_to_its_reader_is_said_of_that_notebook_alone(tmp_path, error):
    def failing(name, content):
        if b"evil" in content:
            raise error("evil")
        return read(name, content)

    place = folder(tmp_path / "ada", {START: answered("evil"), MONTE_CARLO: answered("right", MONTE_CARLO)})
    chosen = opened(place, read=failing).notebooks
    assert chosen[START].unreadable.startswith(START)
    assert "evil" not in chosen[START].unreadable
    assert chosen[MONTE_CARLO].content.sources[-1] == "right"


# --- damaged by chance, or on purpose ---


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory):
    """A folder with the submissions of two honest students, and room for a third one's."""
    here = tmp_path_factory.mktemp("class")
    folder(here / "ada", {START: answered("ada")})
    archive(here / "bob.zip", {f"work/{START}": answered("bob"), f"work/{MONTE_CARLO}": untouched(MONTE_CARLO)})
    return here


def assert_only_eve_is_hurt(neighbours: Path, original: dict[str, bytes]) -> str:
    """Open everybody's; return how Eve's notebook was found: if it was read at all, then as it was before any damage."""
    ada, bob, eve = find_places(neighbours)
    assert open_place(ada, NAMES, read).notebooks[START].content.sources[-1] == "ada"
    assert open_place(bob, NAMES, read).notebooks[START].digest == digest_of(answered("bob"))
    outcome = open_place(eve, NAMES, lambda name, content: Cells((), False))
    for chosen in outcome.notebooks.values():
        assert chosen.unreadable.isprintable()
        assert not chosen.digest or chosen.digest in {digest_of(content) for content in original.values()}
    assert all(name.isprintable() for name in outcome.others)
    start = outcome.notebooks[START]
    return "read" if start.digest else "unreadable" if start.unreadable else "missing"


SMALL = {START: b'{"cells": []}', "é.zip": b""}
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


@pytest.mark.parametrize("method", METHODS)
def test_any_bit_of_an_archive_may_be_flipped(neighbours, method):
    """Each bit in turn of a small archive: of these 8,000 or so archives hundreds would have ended a batch once."""
    content = archive(neighbours / "eve.zip", SMALL, METHODS[method]).read_bytes()
    (eve,) = [place for place in find_places(neighbours) if place.student == "eve"]
    outcomes = dict.fromkeys(("read", "unreadable", "missing"), 0)
    digests = {digest_of(each) for each in SMALL.values()}
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        (neighbours / "eve.zip").write_bytes(damaged)
        found = open_place(eve, NAMES, lambda name, content: Cells((), False)).notebooks
        for chosen in found.values():
            assert not chosen.digest or chosen.digest in digests
        start = found[START]
        outcomes["read" if start.digest else "unreadable" if start.unreadable else "missing"] += 1
    assert_only_eve_is_hurt(neighbours, SMALL)
    assert outcomes["unreadable"] > 300
    assert outcomes["missing"] > 100
    assert outcomes["read"] > 300 or METHODS[method] not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@functools.cache
def large_archive(method: str) -> tuple[bytes, dict[str, bytes]]:
    files = {f"work/{START}": answered("eve"), f"work/{MONTE_CARLO}": answered("eve", MONTE_CARLO), "a.zip": b""}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name), content, METHODS[method])
    return buffer.getvalue(), files


@bounded
@given(
    st.sampled_from(sorted(METHODS)),
    st.lists(st.tuples(st.floats(-1, 1), st.binary(min_size=1, max_size=9)), max_size=6),
    st.floats(0, 1),
)
def test_any_part_of_an_archive_may_be_overwritten_or_cut_off(neighbours, method, changes, whole):
    """Half of the changes are in the last bytes, where the list of files is."""
    content, files = large_archive(method)
    damaged = bytearray(content)
    for place, replacement in changes:
        start = int(place * (len(damaged) - 1)) if place >= 0 else len(damaged) - 1 - int(-place * 300)
        damaged[start : start + len(replacement)] = replacement
    if whole > 0.5:
        del damaged[int(len(damaged) * whole) :]
    (neighbours / "eve.zip").write_bytes(damaged)
    outcome = assert_only_eve_is_hurt(neighbours, files)
    if not changes and whole <= 0.5:
        assert outcome == ("read" if METHODS[method] in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else "unreadable")


@bounded
@given(st.binary(max_size=2000))
@example(b"PK\x05\x06" + bytes(18))
@example(b"PK\x05\x06" + b"\xff" * 18)
@example(b"PK\x06\x06" + b"\xff" * 52 + b"PK\x06\x07" + bytes(16) + b"PK\x05\x06" + b"\xff" * 18)
def test_any_bytes_may_be_called_an_archive(neighbours, content):
    (neighbours / "eve.zip").write_bytes(content)
    assert_only_eve_is_hurt(neighbours, {})


@bounded
@given(st.binary(max_size=500), st.integers(0, 6000), st.binary(max_size=8))
@example(b"[" * 100_000, 0, b"")
@example(b'{"cells": [{"cell_type": "code", "source": ["' + b"\xed\xa0\x80" + b'"]}]}', 0, b"")
def test_any_bytes_may_be_called_a_notebook(tmp_path_factory, content, position, replacement):
    """Random bytes, and a real notebook of which a part is overwritten."""
    here = tmp_path_factory.mktemp("class")
    damaged = bytearray(answered("eve"))
    damaged[position : position + len(replacement)] = replacement
    folder(here / "ada", {START: answered("ada")})
    folder(here / "eve", {START: content, f"{MONTE_CARLO[:-6]} (1).ipynb": bytes(damaged)})
    ada, eve = find_places(here)
    chosen = open_place(eve, NAMES, read).notebooks
    assert bool(chosen[START].digest) != bool(chosen[START].unreadable)
    assert bool(chosen[MONTE_CARLO].digest) != bool(chosen[MONTE_CARLO].unreadable)
    assert chosen[MONTE_CARLO].digest in ("", digest_of(bytes(damaged)))
    assert open_place(ada, NAMES, read).notebooks[START].content.sources[-1] == "ada"


MEMBER_NAMES = st.lists(
    st.sampled_from(
        ["/", "\\", "..", ".", "work", START, "00_start_here", "(1)", " ", ".ipynb", "é", "\x1b", "a" * 300]
    )
    | st.text(max_size=3),
    min_size=1,
    max_size=8,
).map("".join)


@bounded
@given(st.dictionaries(MEMBER_NAMES, st.sampled_from([answered("eve"), untouched(), b"", b"[]"]), max_size=5))
def test_files_in_an_archive_may_have_any_names(neighbours, files):
    files = {name: content for name, content in files.items() if not any("\ud800" <= c <= "\udfff" for c in name)}
    with zipfile.ZipFile(neighbours / "eve.zip", "w") as made:
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name or "-"), content)
    assert_only_eve_is_hurt(neighbours, files)


def test_all_that_is_raised_is_an_error_of_the_course():
    assert issubclass(UnreadableError, CourseError)
    assert issubclass(NotebookError, CourseError)
