"""How the service scales, on paper: `make scaling` measures, computes, simulates and writes docs/scaling.md anew.

`stack` starts real parts, `relay` and `counters` count what they say to each other; `measure`, `shapes` and `drain`
turn that into costs per upload, chunk and MiB (`costs.json`). `model` makes replicas and loads of the costs;
`simulation` and `scenarios` make backlogs and waits of a queue with an autoscaler. `report` and `plot` write. Nothing
here is part of the service.
"""
