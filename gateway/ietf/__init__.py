"""The surface of draft-ietf-httpbis-resumable-upload under `/resumable`, translated to `gateway.service.appends`.

`routes` and `creation` read a request, ask the use case and answer; `fields` and `dialects` read and write header
fields and are pure. No state, no storage, no SQL. Sections are those of draft -12, interop version 8.
"""
