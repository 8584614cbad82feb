"""The use cases: what a caller can do, in our words. No web framework here; every surface translates to this.

`uploads` create, fill, finalize and abort; `ingest` takes whole files in one request; `jobs` answers polls; `files`
lists, reads, changes and deletes. Each takes the caller first: the tenant is part of everything below.
"""
