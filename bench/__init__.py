"""Measurements beside the rivals that anybody can re-run: `make bench` (or `python -m bench --help`).

`apart` is the driver, a process that sends cheaply (`driver`) what `sends` describes for each protocol. `servers`
starts what is measured, `rivals` installs the others, `bare` is the handler that drops the body. `measures` holds the
workloads, `forms` how much of each; `rows` is what they give. `report`, `budget` and `plots` make tables, verdicts and
figures of the JSON; `profile` shows where the time goes. `s3` and `scaling` are measurements of their own. Everything
runs on this machine over loopback and stops by itself.
"""
