"""The servers we stand beside, at pinned versions: `install` puts them into a folder that git ignores, `start` runs
each in a process of its own with its default store. Nothing here is part of the service.
"""
