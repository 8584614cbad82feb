"""What a file's own bytes tell about it: media type, text encoding and lines, image size, CSV columns.

Everything here is pure: bytes in, a JSON-able dict out; no I/O, no settings, no state between files. The bytes
come from strangers, so every reader looks at a bounded sample, is bounded in time, and answers "absent" instead of
raising. Nothing here decompresses, renders or runs what it reads.

    describe(head, tail, size, declared_type, filename)   the sampled part, see describe.py
    line_counter_for(attributes)                          the part that needs the whole file, see lines.py
    compatible_types(detected, claimed)                   the rule behind `type_mismatch`, see media_types.py
"""

from worker.attributes.describe import HEAD_BYTES, TAIL_BYTES, Attributes, describe, line_counter_for
from worker.attributes.lines import LineCounter
from worker.attributes.media_types import compatible_types

__all__ = [
    "HEAD_BYTES",
    "TAIL_BYTES",
    "Attributes",
    "LineCounter",
    "compatible_types",
    "describe",
    "line_counter_for",
]
