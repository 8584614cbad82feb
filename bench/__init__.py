"""Measurements that anybody can re-run: `make bench` (or `python -m bench --help`).

`driver` sends bytes cheaply over raw sockets, `servers` starts what is measured, `bare` is the handler we are compared
with, `workloads` are what is measured; `__main__` repeats them and prints the table. Everything runs on this machine
over loopback and stops by itself.
"""
