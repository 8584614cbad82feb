"""The native REST surface under `/v1`, and the probes. A route is a few lines that call `gateway.service`.

`schemas` are the JSON shapes, `problems_doc` the error shapes of the OpenAPI document, `fields` reads headers.
"""
