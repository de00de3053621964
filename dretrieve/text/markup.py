"""TREC's topics and documents: SGML as NIST writes it (inner tags may stay open), and XML of later tracks."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dretrieve.errors import DataError
from dretrieve.text.fields import QUERY_IDS, TITLES
from dretrieve.text.files import read_lines

BLOCKS = {"corpus": "doc", "queries": "top|topic|query|doc"}
TAG = re.compile(r"<!--.*?-->|<!\[CDATA\[|\]\]>|</?[A-Za-z][^<>]*>", re.DOTALL)
NUMBERS = (*QUERY_IDS, "topicid", "identifier")  # CLEF's <identifier>, NTCIR's <qid>, Genomics' <ID>
ATTRIBUTE = re.compile(rf"""(?:^|\s)({"|".join(NUMBERS)}|docno)\s*=\s*["']([^"']*)["']""", re.IGNORECASE)
TOPIC_FIELD = re.compile(
    rf"<({'|'.join(NUMBERS)}|title|desc|description|narr|narrative|query|question|text|content|dom|head|smry|"
    r"summ|summary|con|conc|concepts|fac|factor|nat|nationality|def|definition|back|background|subtopic|"
    r"evidence|note)(\s[^<>]*)?>",
    re.IGNORECASE,
)
NAMES = {"num": "number", "desc": "description", "narr": "narrative"}
LABEL = re.compile(r"^(number|topic|description|narrative|title)\s*:\s*", re.IGNORECASE)
BODY_TAGS = ("text", "leadpara", "lp", "body", "abstract", "contents")
HIDDEN = ("docno", "docid", "docoldno", "dochdr", "fileid")


def is_markup(line: str) -> bool:
    """Return whether a file that begins with this line is one of topics or documents.

    DBpedia's ``<dbpedia:Mill>`` with text behind a tab is an id in a table.
    """
    return re.match(r"\s*<(\?xml|!|[A-Za-z])(?![^<>\t]*> *\t\s*[^<\s])", line) is not None


def read_topics(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield ``(line, fields)`` of topics: ``id``, each field by its tag; labels (``Description:``) go.

    Raises:
        DataError: no topics; one without its number (Indri's ``<query>`` may do without).
    """
    for number, tag, attributes, body in _blocks(path, BLOCKS["queries"]):
        if tag == "doc":
            record = _document(attributes, body, path, number)
            yield (
                number,
                {"id": record["id"], "text": " ".join(f"{record['title']} {record['text']}".split())},
            )
            continue
        starts = list(TOPIC_FIELD.finditer(body))
        fields: dict[str, str] = {}
        for start, after in zip(starts, [*starts[1:], None][: len(starts)], strict=True):
            content = body[start.end() : after.start() if after else len(body)]
            content = re.split(rf"</{start[1]}\s*>", content, maxsplit=1, flags=re.IGNORECASE)[0]
            name = start[1].lower()
            fields.setdefault(NAMES.get(name, name), LABEL.sub("", _plain(content), count=1))
        if "query" in fields and "question" in fields:
            fields["description"] = fields.pop("question")
        found = _identity(fields.pop("number", None), attributes)
        inner = [fields.pop(name) for name in NUMBERS if name in fields]
        found = inner[0] if found is None and inner else found
        if found is None and (tag != "query" or re.search("<[A-Za-z]", TOPIC_FIELD.sub("", body))):
            known = ", ".join(NUMBERS)
            raise DataError.at(path, number, f"a <{tag}> without its number ({known}); give every topic one")
        if not starts:
            fields["text"] = _plain(body)
        yield number, {**({"id": found} if found is not None else {}), **fields}


def read_documents(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield ``(line, fields)`` of documents: ``id``, ``title`` of all title tags, ``text`` of all text tags.

    A document without a text tag is all text, but for its number and header.
    """
    for number, _, attributes, body in _blocks(path, BLOCKS["corpus"]):
        yield number, _document(attributes, body, path, number)


def _document(attributes: str, body: str, path: Path, number: int) -> Mapping[str, str]:
    body = re.sub(r"<!--.*?-->", " ", body, flags=re.DOTALL)
    numbers, _ = _taken(body, ("docno",))
    found = _identity(_plain(numbers[0]) if numbers else None, attributes)
    if found is None:
        raise DataError.at(path, number, "a <DOC> without <DOCNO>; give every document its number")
    _, body = _taken(body, HIDDEN)
    titles, body = _taken(body, TITLES)
    texts, rest = _taken(body, BODY_TAGS)
    joined = "\n".join(_lines(text) for text in (texts or [rest]))
    return {"id": found, "title": " ".join(map(_plain, titles)), "text": joined}


def _taken(body: str, tags: tuple[str, ...]) -> tuple[list[str], str]:
    """Return what stands in those tags, and the body without it."""
    pattern = re.compile(rf"<({'|'.join(tags)})(?:\s[^<>]*)?>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)
    return [match[2] for match in pattern.finditer(body)], pattern.sub(" ", body)


def _identity(found: str | None, attributes: str) -> str | None:
    if found is not None:
        return found
    match = ATTRIBUTE.search(attributes)
    return match[2].strip() if match else None


def _lines(text: str) -> str:
    return html.unescape(TAG.sub(" ", text)).strip()


def _plain(text: str) -> str:
    return " ".join(_lines(text).split())


def _blocks(path: Path, tags: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield ``(line, tag, attributes, inside)`` of every topic or document.

    A block ends at its closing tag or where the next one of its tag begins; what stands outside is left.
    """
    opening = re.compile(rf"<({tags})(\s[^<>]*)?>", re.IGNORECASE)
    begun: tuple[int, str, str] | None = None
    ending, parts = opening, list[str]()
    for number, line in read_lines(path):
        place = 0
        while True:
            if begun is None:
                match = opening.search(line, place)
                if match is None:
                    break
                begun, parts, place = (number, match[1].lower(), match[2] or ""), [], match.end()
                ending = re.compile(rf"</{match[1]}\s*>|(?=<{match[1]}(?:\s[^<>]*)?>)", re.IGNORECASE)
            match = ending.search(line, place)
            if match is None:
                parts.append(line[place:])
                break
            yield (*begun, "\n".join([*parts, line[place : match.start()]]))
            begun, place = None, match.end()
    if begun is not None and begun[1] == "doc":
        raise DataError.at(path, begun[0], "the last <DOC> is not closed; the file was cut, fetch it again")
    if begun is not None:
        yield (*begun, "\n".join(parts))
    if ending is opening:  # none began
        known = " or ".join(f"<{tag}>" for tag in tags.split("|"))
        raise DataError.at(path, None, f"holds no {known}; name the file in which they stand")
