"""`sluice doctor`: looks at what the service needs, by using it, and says in a line each what is wrong and what to do.

`examination` runs the groups side by side, each bounded in time: `machine`, `database` (`postgres`, `sqlite`), `redis`,
`volume` or `bucket` (the storage), `identity` (does the one belong to the other). A group adds lines to `report` and
leaves nothing behind. Only what these modules write is printed, and no secret of the settings is ever in it.
"""
