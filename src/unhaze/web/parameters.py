"""The parameters of all routes in one table; they are passed in the query or as fields of a form.

The checks, the OpenAPI document and /docs are derived from it. Options that the command has as well
are added from `unhaze.outputs` and `unhaze.restore.encoding`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import Field, FieldInfo

from unhaze.errors import UnhazeError
from unhaze.outputs import AS_MODEL, CONTROLS, OPTIONS, SAME, Controls, Option
from unhaze.restore.encoding import CHOICES, Encoding, read_encoding
from unhaze.validation import nearest

Parameter = tuple[Any, FieldInfo]  # type, and everything else


def parameter(kind: Any, default: Any, text: str, example: Any, **limits: Any) -> Parameter:
    """Returns the type and field as pydantic takes them."""
    return kind, Field(default, description=text, examples=[example], **limits)


OUTPUT_EXAMPLES = {"format": "webp", "quality": 80, "bit_depth": 16, "color_space": "srgb"}
OUTPUT_EXAMPLES |= {"bands": "4,3,2"}


def from_option(name: str, option: Option) -> Parameter:
    """Turns an option of written photos into a parameter; 0 or "same" stand for the source's value.

    Numbers are sent as text. Only the bounds of choices are checked here; `Output` checks the rest.
    """
    if isinstance(option.default, bool):
        return parameter(bool, option.default, option.help, True)
    text, example = (
        option.help.replace("[default: the source's]", "").strip(),
        OUTPUT_EXAMPLES[name],
    )
    numbers = option.limits or tuple(each for each in option.choices if isinstance(each, int))
    if numbers:
        return parameter(int, 0, f"{text} 0: the source's.", example, ge=0, le=max(numbers))
    if not option.choices:
        return parameter(str, "", text, example)
    words = (SAME, *(each for each in option.choices if each != SAME))
    return parameter(Literal[words], SAME, text, example)


SIZE = "Long side in pixels; over 2048: full size."
ITEMS = "ID:STRENGTH, repeated. ID: of a photo or a video."
PARAMETERS: dict[str, Parameter] = {
    "strength": parameter(float, 1.0, "0 changes nothing, 1 clears fully.", 0.8, ge=0, le=1),
    "model": parameter(str, "auto", "One of /v1/models, or auto.", "photo-fast", max_length=64),
    "analysis": parameter(
        int, 1024, "Long side in pixels of the picture the model sees.", 1024, ge=64, le=2048
    ),
    "name": parameter(
        str, "photo", "Of the upload: the result is called after it.", "beach.jpg", max_length=255
    ),
    "side": parameter(Literal["hazy", "restored"], "restored", "Before or after.", "hazy"),
    "size": parameter(int, 1600, SIZE, 1600, ge=16, le=65536),
    "item": (
        list[str],
        Field(min_length=1, max_length=100, description=ITEMS, examples=[["ID:0.8"]]),
    ),
    "token": parameter(str, "", "Of the server.", "TOKEN"),
}
OUTPUT = tuple(name for name in OPTIONS if name != "suffix")  # of which a result here has no use
PARAMETERS |= {name: from_option(name, OPTIONS[name]) for name in OUTPUT}
PARAMETERS |= {
    name: parameter(float, getattr(AS_MODEL, name), about, 0.5, ge=0, le=1)
    for name, about in CONTROLS.items()
}
# Options of videos, shared with the command.
EXAMPLES = {"codec": "h265", "crf": "22", "bitrate": "8M", "target_size": "700M", "preset": "slow"}
EXAMPLES |= {"pixel_format": "yuv420p10le", "hw": "auto", "audio": "none"}
PARAMETERS |= {
    name: parameter(str, "", choice.help, EXAMPLES[name], max_length=32)
    for name, choice in CHOICES.items()
}


def query(title: str, *names: str, name: str = "photo") -> type[BaseModel]:
    """Returns the model of a route's parameters. name: default name of the upload."""
    found: dict[str, Any] = {each: PARAMETERS[each] for each in names}
    if "name" in found:
        kind, about = found["name"]
        found["name"] = kind, FieldInfo.merge_field_infos(about, default=name)
    return create_model(title, **found)


if TYPE_CHECKING:

    class Asked(BaseModel):
        """All attributes that routes read of the models below, which are built from
        `PARAMETERS`.
        """

        name: str
        model: str
        strength: float
        analysis: int
        side: Literal["hazy", "restored"]
        size: int
        item: list[str]

    class Dehaze(Asked): ...

    class SendPhoto(Asked): ...

    class Preview(Asked): ...

    class Result(Asked): ...

    class SendVideo(Asked): ...

    class Archive(Asked): ...
else:
    Dehaze = query("Dehaze", "strength", *CONTROLS, "model", "analysis", "name", *OUTPUT)
    SendPhoto = query("SendPhoto", "name", "model")
    Preview = query("Preview", "side", "size")
    Result = query("Result", "strength", *CONTROLS, *OUTPUT)
    of_videos = ("name", "model", "strength", *CONTROLS, *CHOICES)
    SendVideo = query("SendVideo", *of_videos, name="video.mp4")
    Archive = query("Archive", "item")

Given = TypeVar("Given", bound="Asked")


def output_of(given: BaseModel) -> dict[str, Any]:
    """Returns the settings of the written photo."""
    return given.model_dump(include=set(OUTPUT))


def controls_of(given: BaseModel) -> Controls:
    """Returns the controls that differ from the model's defaults."""
    return Controls(**given.model_dump(include=set(CONTROLS)))


def encoding_of(given: BaseModel) -> Encoding:
    """Returns the encoding of a video. UnhazeError: an invalid value."""
    return read_encoding(given.model_dump(include=set(CHOICES), exclude_unset=True))


def with_fields(given: Given, fields: Mapping[str, str], file_name: str) -> Given:
    """Merges parameters of the query with those of a form; `file_name` is the default `name`.

    UnhazeError: a field is unknown, also given in the query, or out of range.
    """
    known = type(given).model_fields
    for name in fields:
        if name not in known:
            raise UnhazeError(f"no field '{name}'; {nearest(name, known)}")
        if name in given.model_fields_set:
            raise UnhazeError(f"'{name}' is given in the address and in the form; give it once")
    named = {"name": file_name[-255:]} if file_name and "name" in known else {}
    try:
        sent = named | given.model_dump(exclude_unset=True) | dict(fields)
        return type(given).model_validate(sent)
    except ValidationError as error:
        raise UnhazeError(one_line(error.errors())) from error


def known_parameters(request: Request) -> None:
    """Raises UnhazeError for query parameters that the route does not have or that appear twice,
    because they would have no effect.
    """
    known = names_of(request.scope["route"].dependant.query_params)
    for name in request.query_params:
        if name not in known:
            advice = nearest(name, known) if known else "there are none here"
            raise UnhazeError(f"no parameter '{name}'; {advice}")
        if name != "item" and len(request.query_params.getlist(name)) > 1:
            raise UnhazeError(f"'{name}' is given twice; give it once")


def names_of(fields: Iterable[Any]) -> list[str]:
    """Returns the parameter names of FastAPI's fields, one of which may hold several."""
    names: list[str] = []
    for each in fields:
        kind = each.field_info.annotation
        whole = isinstance(kind, type) and issubclass(kind, BaseModel)
        names += list(kind.model_fields) if whole else [each.alias]
    return names


def one_line(errors: Sequence[Any]) -> str:
    """Returns pydantic's errors as one line."""
    lines = []
    for each in errors:
        name = next((str(part) for part in reversed(each["loc"]) if isinstance(part, str)), "it")
        said = each["msg"][:1].lower() + each["msg"][1:]
        given = each.get("input")
        value = f" is {str(given)[:40]!r}:" if isinstance(given, str | int | float) else ":"
        lines.append(f"{name}{value} {said}")
    return "; ".join(lines)
