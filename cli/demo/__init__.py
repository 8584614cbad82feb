"""`make demo`: the main job shown on real input, with its own embedded stack in a temporary folder.

samples.py      the files that are uploaded
service.py      the stack: `sluice up` as a child process
interrupted.py  the client that is killed in the middle, a program of its own
show.py         the steps, and what they prove
__main__.py     puts it together, cleans up, sets the exit status
"""
