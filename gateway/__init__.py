"""HTTP in, bytes and rows out. Never assembles a file.

`app` puts the parts together, `server` runs them, `api/` is the native REST surface, `service/` holds the use cases,
`intake` turns a request body into verified buffers, `guards` keeps every request within its bounds, `problems` turns
exceptions into answers. Nothing here imports the worker.
"""
