"""A discrete-event simulation of a queue, its workers and their autoscaler. Plain, seeded, seconds to run.

An item is a ring: one large file, or a group of small ones. It waits in the queue until a pod that is ready has a free
slot, needs a core of that pod for `cpu` seconds, and the slot for `wait` seconds more in which nobody computes (store,
database). The autoscaler counts waiting and running items, as KEDA does with the queue's sorted set.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Item:
    """`arrives` and the demands in seconds; `files` are ready together at its end."""

    arrives: float
    cpu: float
    wait: float = 0.0
    files: int = 1


@dataclass(frozen=True)
class Scaling:
    """Delays of KEDA and the HPA behind it, in seconds, and the bounds of deploy/k8s/components/autoscale-workers."""

    least: int = 2
    most: int = 20
    per_pod: int = 8
    """`listLength`: items for each pod."""
    look_every: float = 15.0
    """The HPA asks KEDA at each of its own rounds; KEDA's `pollingInterval` is for 0 <-> 1 and for cached metrics."""
    metric_age: float = 0.0
    """With `useCachedMetrics`: at most the pollingInterval (5 s in our component, 30 s by default)."""
    pod_start: float = 20.0
    """Schedule, pull from the node's cache, wait for the schema, start the interpreter."""
    up_pods: int = 4
    up_factor: float = 2.0
    """In 15 s the larger of the two."""
    down_part: float = 0.25
    down_every: float = 60.0
    stabilise: float = 300.0
    tolerance: float = 0.1


@dataclass(frozen=True)
class Fleet:
    """Pods of one kind. Without `scaling` there are always `pods`."""

    pods: int = 2
    slots: int = 8
    cores: int = 1
    read_limit: int = 1000
    """Items that run at once in the whole fleet, at most (worker/polling.py)."""
    scaling: Scaling | None = None


@dataclass
class Pod:
    slots: int
    cores: int
    leaving: bool = False
    running: int = 0
    computing: int = 0
    line: deque[Item] = field(default_factory=deque)


@dataclass
class Outcome:
    """`waits` are seconds from arrival to the slot, `times` to the end with the number of files; `trace` has
    (second, files waiting or running, items of them, pods ready)."""

    waits: list[float] = field(default_factory=list)
    times: list[tuple[float, int]] = field(default_factory=list)
    trace: list[tuple[float, int, int, int]] = field(default_factory=list)
    ended: float = 0.0
    area: float = 0.0
    """Integral over time of the items in the system: over `ended`, their mean number."""

    @property
    def most_pods(self) -> int:
        return max(pods for *_, pods in self.trace)

    @property
    def backlog(self) -> int:
        """Most files that waited or ran at once."""
        return max(files for _, files, *_ in self.trace)

    def percentile(self, part: float) -> float:
        """Time to ready that this part of the files did not exceed."""
        ordered = sorted(self.times)
        due = part * sum(files for _, files in ordered)
        for seconds, files in ordered:
            due -= files
            if due <= 1e-9:
                return seconds
        return ordered[-1][0]


class Simulation:
    """One run. Events are (time, order, action); actions of one time run in the order they were planned."""

    def __init__(self, fleet: Fleet, items: Iterable[Item]) -> None:
        self.fleet = fleet
        self.now = 0.0
        self.outcome = Outcome()
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._waiting: deque[Item] = deque()
        first = fleet.scaling.least if fleet.scaling else fleet.pods
        self._pods = [Pod(fleet.slots, fleet.cores) for _ in range(first)]
        self._starting = 0
        self._files = self._in_system = self._running = 0
        self._wanted: deque[tuple[float, int]] = deque()
        self._metric: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._shrunk_at = 0.0
        self._left = 0
        for item in items:
            self._left += 1
            self._at(item.arrives, lambda item=item: self._arrive(item))  # type: ignore[misc]
        if fleet.scaling:
            self._at(fleet.scaling.look_every, self._scale)

    def run(self) -> Outcome:
        """Until the last item has ended."""
        self._note()
        while self._left:
            when, _, action = heapq.heappop(self._events)
            self.outcome.area += self._in_system * (when - self.now)
            self.now = when
            action()
        self.outcome.ended = self.now
        self._note()
        return self.outcome

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), action))

    def _note(self) -> None:
        ready = sum(not pod.leaving for pod in self._pods)
        self.outcome.trace.append((self.now, self._files, self._in_system, ready))

    def _arrive(self, item: Item) -> None:
        self._in_system += 1
        self._files += item.files
        self._waiting.append(item)
        self._fill()

    def _fill(self) -> None:
        """Free slots take the oldest; the pod with the fewest running first, as the quickest to look would be."""
        while self._waiting and self._running < self.fleet.read_limit:
            free = [pod for pod in self._pods if not pod.leaving and pod.running < pod.slots]
            if not free:
                break
            pod, item = min(free, key=lambda one: one.running), self._waiting.popleft()
            pod.running += 1
            self._running += 1
            self.outcome.waits.append(self.now - item.arrives)
            pod.line.append(item)
            self._compute(pod)
        self._note()

    def _compute(self, pod: Pod) -> None:
        while pod.line and pod.computing < pod.cores:
            item = pod.line.popleft()
            pod.computing += 1
            self._at(self.now + item.cpu, lambda item=item: self._computed(pod, item))  # type: ignore[misc]

    def _computed(self, pod: Pod, item: Item) -> None:
        pod.computing -= 1
        self._at(self.now + item.wait, lambda: self._end(pod, item))
        self._compute(pod)

    def _end(self, pod: Pod, item: Item) -> None:
        pod.running -= 1
        self._running -= 1
        self._in_system -= 1
        self._files -= item.files
        self._left -= 1
        self.outcome.times.append((self.now - item.arrives, item.files))
        if pod.leaving and not pod.running:
            self._pods.remove(pod)
        self._fill()

    def _scale(self) -> None:
        scaling = self.fleet.scaling
        assert scaling is not None
        self._at(self.now + scaling.look_every, self._scale)
        self._metric.append((self.now, self._in_system))
        while len(self._metric) > 1 and self._metric[1][0] <= self.now - scaling.metric_age:
            self._metric.popleft()
        ready = [pod for pod in self._pods if not pod.leaving]
        have = len(ready) + self._starting
        wanted = desired(scaling, self._metric[0][1], have)
        self._wanted.append((self.now, wanted))
        while self._wanted[0][0] < self.now - scaling.stabilise:
            self._wanted.popleft()
        if wanted > have:
            self._grow(scaling, min(wanted, max(have + scaling.up_pods, int(have * scaling.up_factor))) - have)
        else:
            self._shrink(scaling, ready, max(count for _, count in self._wanted))

    def _grow(self, scaling: Scaling, count: int) -> None:
        self._starting += count
        for _ in range(count):
            self._at(self.now + scaling.pod_start, self._started)

    def _started(self) -> None:
        self._starting -= 1
        self._pods.append(Pod(self.fleet.slots, self.fleet.cores))
        self._fill()

    def _shrink(self, scaling: Scaling, ready: list[Pod], wanted: int) -> None:
        """Of the wishes of the last `stabilise` seconds the largest holds; a pod ends what it runs."""
        if wanted >= len(ready) or self._starting or self.now < self._shrunk_at + scaling.down_every:
            return
        self._shrunk_at = self.now
        count = min(len(ready) - wanted, max(1, int(len(ready) * scaling.down_part)))
        for pod in sorted(ready, key=lambda one: one.running)[:count]:
            pod.leaving = True
            if not pod.running:
                self._pods.remove(pod)
        self._note()


def desired(scaling: Scaling, items: int, have: int) -> int:
    """Pods that the HPA asks for: items by `per_pod`, rounded up, unless that is within the tolerance of what is."""
    if have and abs(items / (scaling.per_pod * have) - 1) <= scaling.tolerance:
        return have
    return min(scaling.most, max(scaling.least, -(-items // scaling.per_pod)))
