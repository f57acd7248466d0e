"""The codes of lungs, lobes and zones against DICOM's context groups, as pydicom has them."""

import pytest
from infnet.anatomy.recognition import _ONE_SIDED, recognise
from infnet.anatomy.regions import LEFT, LOBES, LUNG, LUNGS, RIGHT, ZONES

concepts = pytest.importorskip("pydicom.sr._concepts_dict").concepts["SCT"]
SEGMENTATION_TYPE, LOBE_OF_LUNG, ZONE_OF_LUNG, LATERALITY = 7151, 6170, 6171, 244


def group(cid):
    """Codes of a context group with their meanings."""
    return {
        code: meaning for values in concepts.values() for code, (meaning, groups) in values.items() if cid in groups
    }


def meanings():
    """Every meaning that pydicom knows of a code; some are SNOMED CT's full names."""
    found = {}
    for values in concepts.values():
        for code, (meaning, _) in values.items():
            found.setdefault(code, set()).add(meaning)
    return found


def test_structures_are_members_of_their_context_groups():
    lobes = {lobe.structure.value: lobe.structure.meaning for lobe in LOBES}
    assert lobes == group(LOBE_OF_LUNG)
    assert lobes.items() <= group(SEGMENTATION_TYPE).items()
    assert {zone.structure.value: zone.structure.meaning for zone in ZONES} == group(ZONE_OF_LUNG)
    assert group(SEGMENTATION_TYPE)[LUNG.value] == LUNG.meaning
    assert {(lung.structure, lung.laterality) for lung in LUNGS} == {(LUNG, RIGHT), (LUNG, LEFT)}


def test_sides():
    sides = group(LATERALITY)
    assert all(sides[side.value] == side.meaning for side in (RIGHT, LEFT))
    for region in (*LUNGS, *LOBES, *ZONES):
        assert region.laterality.meaning.lower() == region.name.split()[0]
        assert region.structure.meaning.split()[0].lower() in region.name


def test_codes_of_one_side_say_what_they_are_read_as():
    """Of the seven, pydicom's table has two; docs/lungs-and-lobes.md says where the others are from."""
    known = meanings()
    checked = set()
    for code, (structure, laterality) in _ONE_SIDED.items():
        for meaning in known.get(code, ()):
            words = meaning.lower()
            assert laterality.meaning.lower() in words, meaning
            assert structure.meaning.split()[0].lower() in words, meaning
            checked.add(code)
    assert checked == {"44714003", "72481006"}


@pytest.mark.parametrize("zone", ZONES, ids=lambda zone: zone.name)
def test_a_zone_is_taken_neither_for_a_lobe_nor_for_a_lung(zone):
    assert recognise(zone.name, zone.terminology) is None
