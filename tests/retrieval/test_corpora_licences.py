"""Licences, however a source writes them, have one name."""

import pytest

from retrieval.corpora.licences import is_open, is_wanted, licence_family, normalise_licence, wanted_licences
from retrieval.errors import CorpusError

CC = "creativecommons.org"


@pytest.mark.parametrize(
    ("text", "name", "open_"),
    [
        ("CC BY", "CC BY", True),
        ("cc-by-4.0", "CC BY 4.0", True),
        ("CC BY-SA 3.0", "CC BY-SA 3.0", True),
        ("CC0 1.0 Universal", "CC0 1.0", True),
        ("public domain", "public domain", True),
        ("CC BY-NC", "CC BY-NC", False),
        ("CC BY-ND-NC", "CC BY-NC-ND", False),
        ("CC-BY-NC-SA-4.0", "CC BY-NC-SA 4.0", False),
        ("CC BY-NC-ND 3.0 IGO", "CC BY-NC-ND 3.0 IGO", False),
        ("ccbyncndlicense", "CC BY-NC-ND", False),
        ("cc0license", "CC0", True),
        ("NO-CC CODE", "unknown", False),
        ("", "unknown", False),
        ("all rights reserved", "unknown", False),
        ("© The Author(s) 2020. Open Access", "unknown", False),
    ],
)
def test_a_name_has_one_spelling(text, name, open_):
    assert normalise_licence(text) == name
    assert is_open(name) is open_
    assert normalise_licence(name) == name


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (f"http://{CC}/licenses/by/2.0/uk/", "CC BY 2.0"),
        (f"https://{CC}/licenses/by-nc-nd/4.0/deed.en", "CC BY-NC-ND 4.0"),
        (f"https://www.{CC}/licenses/by/3.0/igo/legalcode", "CC BY 3.0 IGO"),
        (f"http://{CC}/licences/by-sa/3.0", "CC BY-SA 3.0"),
        (f"https://{CC}/publicdomain/zero/1.0/", "CC0 1.0"),
        (f"http://{CC}/publicdomain/mark/1.0/", "public domain"),
        (f"http://{CC}/licenses/publicdomain/", "public domain"),
        ("https://example.org/licenses/by/4.0/", "unknown"),
    ],
)
def test_an_address_names_its_licence(address, name):
    assert normalise_licence(address) == name


@pytest.mark.parametrize(
    ("prose", "name"),
    [
        ("distributed under the Creative Commons Attribution License, which permits unrestricted use", "CC BY"),
        ("under a Creative Commons Attribution 4.0 International License.", "CC BY 4.0"),
        ("Creative Commons Attribution-NonCommercial 3.0 Unported", "CC BY-NC 3.0"),
        ("Creative Commons Attribution Non-Commercial and Share Alike License", "CC BY-NC-SA"),
        ("Creative Commons Attribution-Non-Commercial-No Derivative Works 3.0", "CC BY-NC-ND 3.0"),
        ("Creative Commons License (Attribution–Noncommercial–Share Alike 4.0 International)", "CC BY-NC-SA 4.0"),
        ("the Creative Commons Public Domain Dedication", "CC0"),
        ("This is a U.S. Government work and in the public domain in the USA.", "public domain"),
        ("This article is not in the public domain.", "unknown"),
        ("CC BY and others", "CC BY"),
    ],
)
def test_prose_states_a_licence(prose, name):
    assert normalise_licence(f"  This article is\n{prose}") == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"Creative Commons Attribution 4.0 (http://{CC}/licenses/by/4.0/). CC0 ({CC}/publicdomain/zero/1.0/) "
         "applies to the data made available in this article.", "CC BY 4.0"),
        (f"the Creative Commons Attribution License (http://{CC}/licenses/by-nc/2.0/uk/)", "CC BY-NC 2.0"),
    ],
)  # fmt: skip
def test_of_several_licences_the_most_restrictive_counts(text, name):
    assert normalise_licence(text) == name


def test_a_licence_without_version_stands_for_all_its_versions():
    assert licence_family("CC BY-NC-ND 3.0 IGO") == "CC BY-NC-ND"
    assert is_wanted("CC BY 4.0", {"CC BY"})
    assert not is_wanted("CC BY 4.0", {"CC BY 3.0"})
    assert not is_wanted("CC BY-NC 4.0", {"CC BY"})


def test_a_licence_that_is_none_is_refused_and_not_taken_for_unknown():
    assert wanted_licences(["unknown", "cc by", "Public Domain"]) == {"unknown", "CC BY", "public domain"}
    with pytest.raises(CorpusError, match="GPL"):
        wanted_licences(["GPL"])
