"""Secrets in every place, at a quick size."""

from base64 import b64encode

import pytest

from tests.stories.project import Models
from tests.survival import secrets
from tests.survival.markers import ORNAMENTS, Markers


@pytest.mark.parametrize(("kind", "place"), [("metrics", "labels"), ("json", "value"), ("prometheus", "reason")])
def test_an_endpoint_that_repeats_what_it_was_sent_tells_no_secret(models: Models, kind: str, place: str) -> None:
    """Not in outputs, in the journal, in the training's environment or its log."""
    secrets.echoed(models, kind, place, ORNAMENTS["ornate"])


def test_programs_that_print_what_they_find_tell_no_secret(models: Models) -> None:
    """A training, a hook, a model and a library that breaks: what they find reaches their own logs and nothing else."""
    secrets.told_by_programs(models, ORNAMENTS["ornate"])


def test_a_configuration_with_a_mistake_tells_no_secret(models: Models) -> None:
    """On the very line or beside it."""
    assert secrets.mistakes(models, ORNAMENTS["plain"], every=60) > 3


def test_the_search_finds_what_is_hidden() -> None:
    """A piece of a secret, as it is and in base64, wherever it stands."""
    markers = Markers(1, "")
    secret = markers.new("here")
    for told in (secret, secret[3:20], b64encode(f"x{secret}y".encode()).decode(), b64encode(secret.encode()).decode()):
        assert markers.found_in(told.encode()) == {"here"}
    assert not markers.found_in(secret[:10].encode())
