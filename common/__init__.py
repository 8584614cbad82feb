"""What the gateway and the workers agree on: words, states, errors, settings, digests, queue, database, storage.

Here lives what both sides must understand in the same way. No FastAPI, no ARQ worker code, nothing that only one
side needs. `errors`, `states`, `chunking`, `digests` and `names` are leaves: pure, without I/O.
"""
