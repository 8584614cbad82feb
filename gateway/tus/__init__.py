"""The tus 1.0 surface under `/tus`: the core protocol and its extensions, translated to `gateway.service.appends`.

`routes` and `creation` read a request, ask the use case and answer; `fields`, `metadata`, `checksums` and
`concatenation` read and write header fields and are pure. No state, no storage, no SQL.
"""
