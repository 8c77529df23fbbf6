"""Which tags of a DICOM file could name a person: names of tags, never their values.

Chosen from PS3.15 Table E.1-1 (Basic Application Level Confidentiality Profile): what names or numbers the patient, and
who and where treated them.
"""

import re
import struct
import zlib

from pydicom import Dataset
from pydicom.errors import InvalidDicomError

# A file from outside can make a parser fail in any of these ways; all of them mean "this file is broken".
PARSER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

TAGS = {
    "PatientName": "patient's name",
    "PatientID": "patient ID",
    "PatientBirthDate": "birth date",
    "PatientBirthName": "birth name",
    "PatientMotherBirthName": "mother's birth name",
    "OtherPatientNames": "other names",
    "OtherPatientIDs": "other patient IDs",
    "OtherPatientIDsSequence": "other patient IDs",
    "PatientAddress": "address",
    "PatientTelephoneNumbers": "telephone number",
    "PatientTelecomInformation": "telephone number",
    "MilitaryRank": "military rank",
    "PatientComments": "comments on the patient",
    "PersonName": "person's name",
    "ResponsiblePerson": "responsible person",
    "ResponsibleOrganization": "responsible organisation",
    "MedicalRecordLocator": "record number",
    "InsurancePlanIdentification": "insurance",
    "AccessionNumber": "accession number",
    "AdmissionID": "admission number",
    "ReferringPhysicianName": "referring physician",
    "PerformingPhysicianName": "performing physician",
    "NameOfPhysiciansReadingStudy": "reading physician",
    "PhysiciansOfRecord": "physicians of record",
    "RequestingPhysician": "requesting physician",
    "OperatorsName": "operator's name",
    "InstitutionName": "institution",
    "InstitutionAddress": "institution's address",
    "DigitalSignaturesSequence": "signature",
}
# What a file is left with after de-identification names a study's subject, not a person.
PSEUDONYMS = ("PatientName", "PatientID")
BURNED_IN = "text in the pixels, as the file itself says"

_EMPTY = re.compile(
    r"[\W_]*(anon(ym(i[sz]ed|ous)?)?\d*|removed|de-?identified|none|unknown|unspecified|na|nil|x+|0+)?[\W_]*",
    re.IGNORECASE,
)


def identity_tags(dataset: Dataset) -> tuple[str, ...]:
    """Plain names of the tags that hold something, in the order of `TAGS`; emptied and anonymised ones do not count."""
    pseudonyms = PSEUDONYMS if _text(dataset, "PatientIdentityRemoved").upper() == "YES" else ()
    found = [
        plain
        for keyword, plain in TAGS.items()
        if keyword not in pseudonyms and keyword in dataset and not _EMPTY.fullmatch(_text(dataset, keyword))
    ]
    if _text(dataset, "BurnedInAnnotation").upper() == "YES":
        found.append(BURNED_IN)
    return tuple(dict.fromkeys(found))


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return str(dataset.get(keyword) or "").strip()
    except PARSER_ERRORS:
        # What cannot be read may name somebody to who can.
        return "unreadable"
