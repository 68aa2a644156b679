"""Our OpenAPI document against the server behind it, by schemathesis: no answer is undocumented."""

from collections.abc import Iterator

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.files import hazy_photo
from tests.web.server import Running, serving
from unhaze.web import Settings

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    limits = {"max_bytes": 100_000, "queue": 64}
    with serving(Settings(device="cpu", workers=1, analysis=64, **limits)) as running:
        yield running


@pytest.mark.slow
def test_every_answer_is_documented(server: Running):
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) > 10

    for operation in operations:
        ask_often(operation)


def ask_often(operation: APIOperation) -> None:
    """Some requests as the document allows them; every answer must be as it says."""

    @settings(
        max_examples=10,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Case) -> None:
        case.validate_response(case.call(), checks=CHECKS)

    ask()


def test_good_answers_are_documented(server: Running):
    """What schemathesis does not find by chance: a picture, and what is kept of it."""
    client = httpx2.Client(base_url=server.url, timeout=30)
    photo = client.post("/v1/photos", content=hazy_photo()).json()
    document = client.get("/openapi.json").json()
    for path in ("/v1/photos/{ident}/result", "/v1/photos/{ident}/preview", "/v1/archive"):
        answer = client.get(path.format(ident=photo["id"]), params={"item": photo["id"]})
        documented = document["paths"][path]["get"]["responses"][str(answer.status_code)]
        kind = answer.headers["content-type"].partition("/")[0]
        assert any(each.startswith(kind) for each in documented["content"])
    entry = document["components"]["schemas"]["PhotoEntry"]
    assert set(entry["required"]) == set(photo)
    assert document["paths"]["/v1/dehaze"]["post"]["requestBody"]["required"]
