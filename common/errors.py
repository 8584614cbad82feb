"""The whole exception tree of Sluice. Each class carries a stable `code`, an HTTP `status` and a `title`.

SluiceError                        anything we raise on purpose
├── SettingsError                  the environment does not describe a runnable service
├── RequestError                   the client must change the request (4xx)
│   ├── MalformedRequest           what came is not HTTP/1.1
│   ├── HeaderTimeout              the request head was not complete in time
│   ├── HeadersTooLarge            the request head or a trailer is too long
│   ├── InvalidRequest             a field, header or parameter is malformed
│   │   ├── InvalidFilename        the name is empty, too long, or holds separators or control characters
│   │   ├── InvalidDigest          a digest is malformed, or none of its algorithms is known
│   │   ├── MetadataTooLarge       metadata, tags or description are over their limit
│   │   ├── ChunkSizeRefused       the asked chunk size is outside the advertised limits
│   │   ├── ChunkOutOfRange        the upload has no chunk with this index
│   │   ├── ChunkLength            the body is not exactly as long as the chunk
│   │   ├── DigestMismatch         the bytes are not those that the digest describes
│   │   │   └── ChecksumMismatch   the same for the checksum of a tus request
│   │   └── IdempotencyKeyReused   the same Idempotency-Key came with another request
│   ├── InvalidField               a header field of tus or of resumable uploads is malformed or missing
│   ├── InconsistentLength         the length of the upload is said twice, and differently
│   ├── CompletedUpload            the upload is complete: nothing can be appended
│   ├── VersionNotSupported        the request speaks another version of tus
│   ├── FinalUpload                an upload made of others takes no bytes of its own
│   ├── ContentTypeRefused         the body of this request has another media type than the protocol asks for
│   ├── UploadEnded                the upload was aborted, has expired or has failed
│   ├── BodyIncomplete             the connection ended in the middle of the body
│   ├── BodyTimeout                the body stalled or came slower than the minimum rate
│   ├── BodyTooLarge               the body is longer than this request may be
│   ├── FileTooLarge               the declared size is over the limit
│   ├── TooManyAppends             the upload consists of too many small appends
│   ├── UploadTooLong              an append brings more than the declared size of the upload
│   ├── ExtensionNotAllowed        this service does not take files with this extension
│   ├── CodingNotAllowed           the body is compressed or otherwise coded
│   ├── PreconditionFailed         the file is not the one that If-Match or If-Unmodified-Since means
│   ├── RangeNotSatisfiable        the asked byte range lies outside the file
│   ├── NotFound                   no such route
│   │   ├── UploadNotFound         no such upload of this tenant
│   │   ├── JobNotFound            no such job of this tenant
│   │   └── FileNotFound           no such file of this tenant
│   ├── MethodNotAllowed           the route exists, the method does not
│   └── Conflict                   right request, wrong moment
│       ├── ChunkConflict          the chunk is stored already, with other bytes
│       ├── ChunksMissing          finalize came before all chunks
│       ├── UploadNotOpen          the upload takes no chunks any more
│       ├── OffsetMismatch         the append does not begin where the upload ends
│       ├── SizeConflict           the size differs from the one that was declared before
│       ├── NotAppendable          the upload takes chunks, or is made of others: nothing can be appended
│       ├── NotPartial             only partial uploads can be concatenated
│       ├── UploadNotFinished      the upload is not a file yet
│       ├── UploadFinalized        a finalized upload cannot be aborted
│       ├── DirectNotAvailable     clients cannot send this upload's chunks to the store by themselves
│       └── JobNotRetryable        only a dead letter can be driven again
├── Unavailable                    not now; the same request may work later (503, Retry-After)
│   ├── ChunkBusy                  another connection is writing this very chunk
│   ├── AppendInterrupted          the append was ended early; what arrived is kept
│   ├── DatabaseUnavailable        the database is away or too slow
│   │   └── DatabaseFull           the disk of the database has no space left (507)
│   └── StorageUnavailable         the storage failed to read or write
├── InsufficientStorage            no space left for the declared size or for these bytes (507)
├── FileCorrupt                    the stored bytes are not the published ones any more (500)
├── Internal                       a bug; the request id finds the log line (500)
└── JobError                       how a job ends without success; `code` is shown on the job
    ├── ChunksDamaged              read-back differs from the receipts; the named chunks must be sent again
    ├── FileDigestMismatch         all chunks are as received, but the whole is not what the client declared
    ├── UploadGone                 the bytes of the upload are not in the storage any more
    ├── BytesAwaited               a row is written before its bytes, and they are not there yet
    ├── JobTimeout                 one attempt took too long
    ├── LeaseLost                  another worker may run this job now
    └── AttemptsExhausted          every attempt failed; a dead letter until it is re-driven
"""

from __future__ import annotations

from typing import Any, ClassVar

PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types#"
"""Where the types that standards have registered are listed (RFC 9457 section 4.2)."""


class SluiceError(Exception):
    """Base of everything raised on purpose.

    `detail` says what to do; `extras` are further members of the problem document; `retry_after` is in seconds;
    `fields` are header fields that a surface's protocol wants beside the document.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"
    type_uri: ClassVar[str | None] = None
    """The problem type that a standard has registered; None: one of our own, made of the code."""

    def __init__(self, detail: str, *, retry_after: int | None = None, **extras: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.extras = extras
        self.fields: dict[str, str] = {}


class SettingsError(SluiceError):
    code = "settings"
    title = "The settings do not describe a runnable service"


class RequestError(SluiceError):
    code = "request_error"
    status = 400
    title = "The request cannot be served"


class MalformedRequest(RequestError):
    code = "malformed_request"
    title = "The request is not well-formed HTTP/1.1"


class HeaderTimeout(RequestError):
    code = "header_timeout"
    status = 408
    title = "The request head came too slowly"


class HeadersTooLarge(RequestError):
    code = "headers_too_large"
    status = 431
    title = "The request head is too large"


class InvalidRequest(RequestError):
    code = "invalid_request"
    status = 422
    title = "The request is not valid"


class InvalidFilename(InvalidRequest):
    code = "invalid_filename"
    title = "The file name is not acceptable"


class InvalidDigest(InvalidRequest):
    code = "invalid_digest"
    title = "The digest is not understood"


class MetadataTooLarge(InvalidRequest):
    code = "metadata_too_large"
    title = "Too much metadata"


class ChunkSizeRefused(InvalidRequest):
    code = "chunk_size"
    title = "The chunk size is outside the limits"


class ChunkOutOfRange(InvalidRequest):
    code = "chunk_out_of_range"
    title = "The upload has no such chunk"


class ChunkLength(InvalidRequest):
    code = "chunk_length"
    title = "The body is not as long as the chunk"


class DigestMismatch(InvalidRequest):
    code = "digest_mismatch"
    title = "The bytes do not match the digest"


class ChecksumMismatch(DigestMismatch):
    code = "checksum_mismatch"
    status = 460  # of tus, which chose a number that HTTP does not use
    title = "The bytes do not match the checksum"


class IdempotencyKeyReused(InvalidRequest):
    code = "idempotency_key_reused"
    title = "The Idempotency-Key belongs to another request"


class InvalidField(RequestError):
    code = "invalid_field"
    title = "A header field is not valid"


class InconsistentLength(RequestError):
    code = "inconsistent_length"
    title = "Inconsistent upload length values"
    type_uri = PROBLEM_TYPES + "inconsistent-upload-length"


class CompletedUpload(RequestError):
    code = "completed_upload"
    title = "The upload is completed"
    type_uri = PROBLEM_TYPES + "completed-upload"


class VersionNotSupported(RequestError):
    code = "version_not_supported"
    status = 412
    title = "This version of tus is not spoken here"


class FinalUpload(RequestError):
    code = "final_upload"
    status = 403
    title = "The upload is made of others"


class ContentTypeRefused(RequestError):
    code = "content_type_refused"
    status = 415
    title = "The body has another media type than the protocol asks for"


class UploadEnded(RequestError):
    code = "upload_ended"
    status = 410
    title = "The upload has ended"


class BodyIncomplete(RequestError):
    code = "body_incomplete"
    title = "The body ended early"


class BodyTimeout(RequestError):
    code = "body_timeout"
    status = 408
    title = "The body came too slowly"


class BodyTooLarge(RequestError):
    code = "body_too_large"
    status = 413
    title = "The body is too large"


class FileTooLarge(RequestError):
    code = "file_too_large"
    status = 413
    title = "The file is too large"


class UploadTooLong(RequestError):
    code = "upload_too_long"
    status = 413
    title = "More bytes than the upload has"


class TooManyAppends(RequestError):
    code = "too_many_appends"
    status = 413
    title = "The upload consists of too many small appends"


class ExtensionNotAllowed(RequestError):
    code = "extension_not_allowed"
    status = 415
    title = "Files with this extension are not taken"


class CodingNotAllowed(RequestError):
    code = "coding_not_allowed"
    status = 415
    title = "Bodies are taken as they are, without Content-Encoding"


class PreconditionFailed(RequestError):
    code = "precondition_failed"
    status = 412
    title = "The condition of the request does not hold"


class RangeNotSatisfiable(RequestError):
    code = "range_not_satisfiable"
    status = 416
    title = "The range lies outside the file"


class NotFound(RequestError):
    code = "not_found"
    status = 404
    title = "Not found"


class UploadNotFound(NotFound):
    code = "upload_not_found"
    title = "No such upload"


class JobNotFound(NotFound):
    code = "job_not_found"
    title = "No such job"


class FileNotFound(NotFound):
    code = "file_not_found"
    title = "No such file"


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"
    status = 405
    title = "This method is not allowed here"


class Conflict(RequestError):
    code = "conflict"
    status = 409
    title = "The state does not allow this"


class ChunkConflict(Conflict):
    code = "chunk_conflict"
    title = "The chunk is stored already, with other bytes"


class ChunksMissing(Conflict):
    code = "chunks_missing"
    title = "Chunks are missing"


class UploadNotOpen(Conflict):
    code = "upload_not_open"
    title = "The upload is not open"


class OffsetMismatch(Conflict):
    """`extras`: `expected_offset` is where the next append must begin, `provided_offset` what came (bytes)."""

    code = "offset_mismatch"
    title = "The upload ends elsewhere"
    type_uri = PROBLEM_TYPES + "mismatching-upload-offset"

    @classmethod
    def at(cls, end: int, offset: int) -> OffsetMismatch:
        """For an append at `offset` to a stream of `end` bytes."""
        return cls(
            f"The next byte of this upload is at {end}, not at {offset}; go on from there.",
            expected_offset=end,
            provided_offset=offset,
        )


class SizeConflict(Conflict):
    code = "size_conflict"
    title = "The upload has another size"


class NotAppendable(Conflict):
    code = "not_appendable"
    title = "Nothing can be appended to this upload"


class NotPartial(Conflict):
    code = "not_partial"
    title = "The upload is not a partial one"


class UploadNotFinished(Conflict):
    code = "upload_not_finished"
    title = "The upload is not a file yet"


class UploadFinalized(Conflict):
    code = "upload_finalized"
    title = "The upload is finalized"


class DirectNotAvailable(Conflict):
    code = "direct_not_available"
    title = "Chunks cannot go to the store directly"


class JobNotRetryable(Conflict):
    code = "job_not_retryable"
    title = "The job cannot be driven again"


class Unavailable(SluiceError):
    code = "unavailable"
    status = 503
    title = "Not available right now"

    def __init__(self, detail: str, *, retry_after: int | None = 2, **extras: Any) -> None:
        super().__init__(detail, retry_after=retry_after, **extras)


class ChunkBusy(Unavailable):
    code = "chunk_busy"
    title = "Another connection is writing this chunk"


class AppendInterrupted(Unavailable):
    code = "append_interrupted"
    title = "The append was ended early"


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"
    title = "The database is not available"


class DatabaseFull(DatabaseUnavailable):
    code = "database_full"
    status = 507
    title = "The database has no space left"


class StorageUnavailable(Unavailable):
    code = "storage_unavailable"
    title = "The storage is not available"


class InsufficientStorage(SluiceError):
    code = "insufficient_storage"
    status = 507
    title = "Not enough space"


class FileCorrupt(SluiceError):
    code = "file_corrupt"
    status = 500
    title = "The stored bytes are damaged"


class Internal(SluiceError):
    code = "internal_error"
    status = 500
    title = "Internal error"


class JobError(SluiceError):
    code = "job_error"
    title = "The job did not succeed"


class ChunksDamaged(JobError):
    """`extras["chunks"]` holds the indexes whose receipts are put away; the client sends those again."""

    code = "chunks_damaged"
    title = "Stored chunks differ from what was received"


class FileDigestMismatch(JobError):
    code = "file_digest_mismatch"
    title = "The file is not what the client declared"


class UploadGone(JobError):
    code = "upload_gone"
    title = "The bytes of the upload are gone"


class BytesAwaited(JobError):
    """Of a small file whose row is written before its bytes are: it costs no attempt to wait for them."""

    code = "bytes_awaited"
    title = "The bytes of the upload are not stored yet"


class JobTimeout(JobError):
    code = "job_timeout"
    title = "The attempt took too long"


class LeaseLost(JobError):
    code = "lease_lost"
    title = "Another worker may run this job now"


class AttemptsExhausted(JobError):
    code = "attempts_exhausted"
    title = "Every attempt failed"


def all_errors() -> list[type[SluiceError]]:
    """Every class of the tree, in the order of definition: for docs, metrics and tests."""
    found: list[type[SluiceError]] = []
    waiting: list[type[SluiceError]] = [SluiceError]
    while waiting:
        cls = waiting.pop(0)
        found.append(cls)
        waiting.extend(cls.__subclasses__())
    return found
