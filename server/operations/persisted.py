"""Documents that clients name instead of sending them: from a file, or by Apollo's automatic persisted queries."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from schema.error import RequestError
from server.bounded_cache import BoundedCache
from server.operations.document import CHARACTERS_REMEMBERED, DOCUMENTS_REMEMBERED
from server.operations.root_fields import Schema
from server.process.settings import Settings, StartError
from server.wire.request import GraphQLRequest


class PersistedDocuments:
    """Finds the text of the document that a request means, by its text, its `documentId`, or its hash."""

    def __init__(self, trusted: Mapping[str, str], *, trusted_only: bool) -> None:
        self._trusted = trusted
        self._trusted_texts = frozenset(trusted.values())
        self._trusted_only = trusted_only
        self._registered = BoundedCache[str](DOCUMENTS_REMEMBERED, CHARACTERS_REMEMBERED)

    def text_of(self, asked: GraphQLRequest) -> str:
        """Return the text of the document that a request means, or raise a RequestError.

        Its code is PERSISTED_QUERY_NOT_FOUND for an unknown id or hash, FORBIDDEN for text that is not trusted where
        only trusted documents are answered, and BAD_USER_INPUT for parameters that do not go together.
        """
        query = asked.query
        if asked.document_id is not None:
            if query is not None:
                raise RequestError("BAD_USER_INPUT", "Send either `documentId` or `query`, not both.")
            text = self._find(asked.document_id)
            if text is None:
                raise RequestError("PERSISTED_QUERY_NOT_FOUND", "There is no document with this `documentId`.")
            return text
        named = _hash(asked.extensions) if asked.extensions else None
        if query is None:
            if named is None:
                raise RequestError("BAD_USER_INPUT", "Send the document as `query`, or its id as `documentId`.")
            text = self._find(named)
            if text is None:  # These words are the protocol: Apollo's clients send the text when they read them.
                raise RequestError("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
            return text
        if self._trusted_only and query not in self._trusted_texts:
            raise RequestError("FORBIDDEN", "Only documents that this server knows are answered: send a `documentId`.")
        if named is not None:
            if named != sha256(query.encode()).hexdigest():
                raise RequestError("BAD_USER_INPUT", "`sha256Hash` is not the SHA-256 hash of `query`.")
            self._registered.put(named, query, len(query))
        return query

    def _find(self, name: str) -> str | None:
        by_hash = name.removeprefix("sha256:")
        return self._trusted.get(name) or self._trusted.get(by_hash) or self._registered.get(by_hash)


def _hash(extensions: Mapping[str, Any]) -> str | None:
    """Return the hash that Apollo's protocol names a document by; None if a request does not speak it."""
    match extensions.get("persistedQuery"):
        case None:
            return None
        case {"version": 1, "sha256Hash": str(name)}:
            return name
    raise RequestError("BAD_USER_INPUT", "`persistedQuery` must be an object with `version` 1 and a `sha256Hash`.")


def persisted_documents(settings: Settings, schema: Schema) -> PersistedDocuments:
    """Read the file of trusted documents, if there is one, and admit others as the settings say.

    Raises a StartError for a file that is not one, or that holds a document that would not be answered.
    """
    trusted = {}
    if settings.documents_file:
        trusted = _read(settings.documents_file)
        for name, text in trusted.items():
            errors = schema.prepare(text).errors
            if errors:
                raise StartError(
                    f"VIDEOCREDITS_DOCUMENTS_FILE is {settings.documents_file}, whose document {name} is wrong: "
                    f"{errors[0].message} Generate the file anew, with the schema of this server."
                )
    return PersistedDocuments(trusted, trusted_only=settings.trusted_documents_only == "on")


def _read(path: Path) -> dict[str, str]:
    """Read documents by their ids, as graphql-codegen writes them."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StartError(
            f"VIDEOCREDITS_DOCUMENTS_FILE is {path}, which cannot be read ({error.strerror}): name a file that can."
        ) from error
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise StartError(
            f"VIDEOCREDITS_DOCUMENTS_FILE is {path}, which is no JSON object of documents by their ids: "
            "name the persisted-documents.json of graphql-codegen."
        )
    return content
