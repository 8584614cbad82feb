"""The worker: takes jobs from the queue and brings them to an end, whatever dies on the way.

`app` starts and stops one process; `polling` is the ARQ side of the doorbell; `runner` wraps every job in a lease
(`lease`), a time limit and a retry policy (`retry`); `finalize` (with `publish`) and `metadata` (with `batch` and
`attributes`) are the work; `sweep` finds what was left behind; `health` is the only HTTP here. Nothing is imported from
the gateway.
"""
