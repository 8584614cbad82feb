"""Measurements that anybody can re-run: `make bench` (or `python -m bench --help`).

`driver` sends bytes cheaply over raw sockets, `bare` is the handler we are compared with, `workloads` are what is
measured, `report` prints and writes the table. Everything runs on this machine over loopback and stops by itself.
"""
