"""Writes a body to a file as it arrives: the file itself, or a form (multipart) that contains
it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from unhaze.errors import UnhazeError

FILE = "file"  # the field that contains the file
MOST_FIELDS = 32
MOST_FIELD_BYTES = 4096  # of a value, and of the headers of a part


class NoRoom(Exception):
    """The folder for uploads and results is full."""


class Form:
    """Parses a form piece by piece: writes the file to `target` and keeps small fields.

    After the last piece: fields (name -> value) and name, the client's file name or "".
    UnhazeError: no valid form, more than one file, or too many or too large fields.
    """

    def __init__(self, boundary: bytes, target: BinaryIO) -> None:
        self.target, self.fields, self.name = target, dict[str, str](), ""
        self.complete, self.has_file = False, False
        self._header, self._value = bytearray(), bytearray()
        self._disposition, self._field, self._is_file = b"", "", False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_to(lambda: self._header),
                "on_header_value": self._add_to(lambda: self._value),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, piece: bytes) -> None:
        """Parses the next piece."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise UnhazeError(f"the form cannot be read: {error}") from error

    def close(self) -> None:
        """Checks that the form is complete. UnhazeError: something is missing."""
        if not self.complete:
            raise UnhazeError("the form is incomplete")
        if not self.has_file:
            raise UnhazeError(f"no file was sent; send it in the field '{FILE}'")

    def _begin(self) -> None:
        self._disposition, self._field, self._is_file = b"", "", False
        self._header.clear()
        self._value.clear()

    def _add_to(self, where: Callable[[], bytearray]) -> Callable[[bytes, int, int], None]:
        def add(data: bytes, start: int, end: int) -> None:
            if len(where()) + end - start > MOST_FIELD_BYTES:
                raise UnhazeError(f"a field of the form is over {MOST_FIELD_BYTES} bytes")
            where().extend(data[start:end])

        return add

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        self._field = text_of(options.get(b"name", b""))
        self._is_file = b"filename" in options or self._field == FILE
        if not self._is_file:
            if self._field in self.fields or len(self.fields) >= MOST_FIELDS:
                raise UnhazeError(
                    f"the field '{self._field}' is given twice, or there are too many"
                )
            return
        if self._field != FILE or self.has_file:
            raise UnhazeError(f"expected one file, in the field '{FILE}'; got '{self._field}'")
        self.has_file, self.name = True, text_of(options.get(b"filename", b""))

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.target.write(data[start:end])
        else:
            self._add_to(lambda: self._value)(data, start, end)

    def _end_part(self) -> None:
        if not self._is_file:
            self.fields[self._field] = text_of(bytes(self._value))
        self._value.clear()

    def _end(self) -> None:
        self.complete = True


def text_of(given: bytes) -> str:
    """Decodes UTF-8, which all clients send; other bytes are replaced, not lost."""
    with suppress(UnicodeDecodeError):
        return given.decode()
    return given.decode("latin-1")


async def save(request: Request, target: BinaryIO) -> tuple[dict[str, str], str]:
    """Writes the file of a request to `target`; returns the fields of its form and the file name,
    both empty if the body is the file itself. UnhazeError: there is no file, or the form is
    invalid.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    form = None
    if kind == b"multipart/form-data":
        if not options.get(b"boundary"):
            raise UnhazeError("the Content-Type of the form has no boundary; let the client set it")
        try:
            form = Form(options[b"boundary"], target)
        except (FormParserError, ValueError) as error:
            raise UnhazeError(f"the form cannot be read: {error}") from error
    write: Callable[[bytes], object] = form.write if form else target.write
    async for piece in request.stream():
        try:
            await asyncio.to_thread(partial(write, piece))
        except OSError as error:
            raise NoRoom("no room on the server for this upload") from error
    if form is not None:
        form.close()
    if not target.tell():
        raise UnhazeError("the body is empty; send the bytes of a picture")
    return (form.fields, form.name) if form else ({}, "")
