"""The canvas as a graph: what will happen, known before anything is sent, by an id on every task.

Celery gives a task its id while it is sent, and `signature.freeze()`, which gives it earlier, changes what is sent: it works in
place, reorders nested groups and subscribes to results. So `plan()` takes a copy, puts an id on every single task of it, which
Celery keeps, and reads off the copy what Celery will make of it. The copy is then the one to send.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from celery.app.task import Task
from celery.canvas import Signature, _chain, _chord, chunks, group
from celery.result import ResultBase
from celery.utils.functional import arity_greater, regen

from taskscope.errors import ScopeError
from taskscope.messages import brief, call

NodeKind = Literal["task", "link", "link_error"]
EdgeKind = Literal["chain", "chord", "link", "link_error"]
BoxKind = Literal["group", "header"]

MANY_EDGES = 4096  # between one group and the next; above that the first task of the next one stands for the others


@dataclass(frozen=True, slots=True)
class Node:
    """One task that will run, or a callback that may run.

    The id of a callback is made up, because Celery gives it one only when it is sent (`known` is then False): what it really
    was is told by the parent of what is seen, which is the source of the edge to it.
    """

    id: str
    name: str
    label: str  # add(2, 3); … stands for what an earlier task will return
    kind: NodeKind = "task"
    box: int | None = None  # the innermost one, as an index
    known: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """Target is sent when source is done; with `chord`, when all sources are."""

    source: str
    target: str
    kind: EdgeKind


@dataclass(frozen=True, slots=True)
class Box:
    """Tasks that are sent together: a group, or the header of a chord with a barrier behind it.

    `id` is the group's id where Celery takes it from us (`known`), else a made-up one: the real one is then the group that any
    of the tasks in `counts` carries. A `phantom` is a group for which Celery stores a size that nobody counts up to.
    """

    id: str
    kind: BoxKind
    members: tuple[str, ...] = ()  # ids of the nodes in it, not those of an inner box, in Celery's order
    body: str | None = None  # the id of the body's (first) node
    parent: int | None = None  # the box around it, as an index
    counts: tuple[str, ...] = ()  # the tasks that a header's barrier counts
    known: bool = False
    phantom: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """What a canvas will do: tasks, what follows what, and what is done together."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    boxes: tuple[Box, ...] = ()

    def ids(self) -> frozenset[str]:
        """Return the ids that are known before anything is sent."""
        return frozenset(node.id for node in self.nodes if node.known)

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """A signature that is ready to be sent, and what will come of it."""

    signature: Signature
    graph: Graph
    notes: tuple[str, ...] = field(default=())


def plan(signature: Signature) -> Plan:
    """Return a copy of a signature with an id on every task, and the graph of what sending that copy will do.

    The signature itself stays as it is, and nothing is sent. Ids that it carries already are kept, whoever put them there,
    because Celery would send them too: send the copy once, and plan the original again for another run.

    Raises:
        ScopeError: there is nothing to send: not a signature, a chord without a body, or a canvas that contains itself.
    """
    original = _checked(signature)
    notes: list[str] = []
    try:
        twin = _twin(original.group() if isinstance(original, chunks) else original)
        group_id = _pass_on_ids(twin, notes)
        for leaf in _leaves(twin):
            _give_id(leaf, notes)
        drawing = _Drawing(notes)
        drawing.place(_tree(twin, whole=True), group_id=group_id)
    except RecursionError:
        raise ScopeError("this canvas contains itself, or is nested without end", "build it from signatures of its own") from None
    return Plan(twin, drawing.graph(), tuple(dict.fromkeys(notes)))


# -- the copy, and the ids in it --------------------------------------------------------------------------------------


def _checked(signature: Any) -> Signature:
    if isinstance(signature, Signature):
        return signature
    if isinstance(signature, dict) and "task" in signature:
        return Signature.from_dict(signature)
    if isinstance(signature, ResultBase):
        raise ScopeError("this is the result of something that was sent already", "plan the signature before it is sent: plan(add.s(2, 3))")
    if isinstance(signature, Task):
        raise ScopeError(f"{signature.name} is a task, not a call of it", f"plan({_short(signature.name)}.s(...))")
    raise ScopeError(f"a {type(signature).__name__} is not a signature", "plan(add.s(2, 3)), or a chain, group or chord of such")


def _twin(signature: Signature) -> Signature:
    """Copy a signature and every signature in it.

    Neither `clone()` nor `deepcopy()` would do: they turn some kinds of signature into plain ones, and lists into others, and
    Celery orders the members of a nested group by the kind of list in which it finds them.
    """
    # The class and its private attributes (the app, the task) stay; what sending may write to is new.
    kind_of_signature: Any = type(signature)
    twin: Signature = kind_of_signature.__new__(kind_of_signature)
    dict.update(twin, signature)
    vars(twin).update(vars(signature))
    twin["kwargs"] = dict(signature.kwargs)
    twin["options"] = dict(signature.options)
    for kind in ("link", "link_error"):
        if signature.options.get(kind):
            twin.options[kind] = [_twin(callback) for callback in _callbacks(signature, kind)]

    def again(inner: Any) -> Signature:
        return _twin(_as_signature(inner, signature))

    if isinstance(signature, _chord):
        if signature.body is None:
            raise ScopeError("this chord has no body, so nobody would gather its results", "plan(chord(header, body)), or a group")
        twin.kwargs["header"] = _same_kind_of_list(signature.tasks, again)
        twin.kwargs["body"] = again(signature.body)
    elif isinstance(signature, (_chain, group)):
        twin.kwargs["tasks"] = _same_kind_of_list(signature.tasks, again)
    return twin


def _same_kind_of_list(tasks: Any, copy: Callable[[Any], Signature]) -> Any:
    if isinstance(tasks, group):  # a header that was frozen
        return copy(tasks)
    copies = [copy(task) for task in tasks]
    if isinstance(tasks, tuple):
        return tuple(copies)
    return copies if type(tasks) is list else regen(iter(copies))


def _as_signature(value: Any, like: Signature) -> Signature:
    return value if isinstance(value, Signature) else Signature.from_dict(value, app=like._app)


def _callbacks(signature: Signature, kind: str) -> list[Signature]:
    found = signature.options.get(kind) or []
    return [_as_signature(callback, signature) for callback in (found if isinstance(found, (list, tuple)) else [found])]


def _leaves(signature: Signature) -> Iterator[Signature]:
    """Find the tasks in a canvas; starmap, xmap and chunks are tasks themselves."""
    if isinstance(signature, _chord):
        for task in _header(signature):
            yield from _leaves(task)
        yield from _leaves(signature.body)
    elif isinstance(signature, (_chain, group)):
        for task in signature.tasks:
            yield from _leaves(task)
    else:
        yield signature


def _header(chord: _chord) -> Iterable[Signature]:
    tasks: Iterable[Signature] = chord.tasks.tasks if isinstance(chord.tasks, group) else chord.tasks
    return tasks


def _give_id(leaf: Signature, notes: list[str]) -> None:
    if "task_id" not in leaf.options:
        leaf.options["task_id"] = str(uuid4())
    elif "reply_to" in leaf.options:  # freeze() leaves this, set(task_id=...) does not
        notes.append(
            f"{_short(leaf.task)} got its id from freeze(), and keeps it; if it was sent before, the stored result is the one of that run"
        )
    if leaf.task == "celery.chunks":
        notes.append(
            "chunks inside a canvas is a task of its own, which publishes its chunks unplanned and does not wait for them: "
            "write add.chunks(items, n).group() there"
        )


def _pass_on_ids(twin: Signature, notes: list[str]) -> str | None:
    """Put the id of a whole canvas to where Celery puts it, and return the id that its group will have."""
    given = twin.options.get("task_id")
    if given and isinstance(twin, (_chain, _chord)) and (last := _last(twin)) is not None:
        last.options.setdefault("task_id", given)
    if given and isinstance(twin, _chain):
        notes.append(
            "the chain carries an id, which is that of its last task: given by hand, or left there when it was sent before, "
            "and then the stored result is the one of that run"
        )
    if isinstance(twin, _chord) and isinstance(twin.tasks, group):
        twin = twin.tasks
    if isinstance(twin, (group, _chord)):
        return str(twin.options.setdefault("task_id", str(uuid4())))
    return None


def _last(signature: Signature) -> Signature | None:
    """Find the task whose result is that of the whole; a group has none."""
    if isinstance(signature, _chord):
        return _last(signature.body)
    if isinstance(signature, _chain):
        steps = _steps(signature.tasks)
        return _last(steps[-1]) if steps else None
    return None if isinstance(signature, group) else signature


# -- what Celery makes of it ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Single:
    of: Signature


@dataclass(frozen=True, slots=True)
class _Sequence:
    steps: tuple["_Tree", ...]
    of: Signature


@dataclass(frozen=True, slots=True)
class _Together:
    members: tuple["_Tree", ...]
    of: Signature


@dataclass(frozen=True, slots=True)
class _Barrier:
    members: tuple["_Tree", ...]
    body: "_Tree"
    of: Signature


_Tree: TypeAlias = _Single | _Sequence | _Together | _Barrier


def _tree(signature: Signature, whole: bool = False) -> _Tree:
    """Read a canvas as Celery will send it; `whole` is what the caller sends, the rest is part of something else."""
    if isinstance(signature, _chord):
        # As a part of something it is cloned, which makes a list of a header that came from a generator.
        header = _header(signature) if whole else list(_header(signature))
        return _Barrier(_trees(_members(header, frozen=True)), _tree(signature.body), signature)
    if isinstance(signature, group):
        return _Together(_trees(_members(signature.tasks, frozen=not whole)), signature)
    if isinstance(signature, _chain):
        return _chained(signature)
    return _Single(signature)


def _trees(signatures: Iterable[Signature]) -> tuple[_Tree, ...]:
    return tuple(_tree(signature) for signature in signatures)


def _chained(chain: _chain) -> _Tree:
    """Join the steps of a chain from its end: a group before another step is the header of a chord."""
    done: list[_Tree] = []
    for step in reversed(_steps(chain.tasks)):
        if isinstance(step, group) and done:
            done.append(_Barrier(_trees(_members(step.tasks, frozen=True)), done.pop(), step))
        else:
            done.append(_tree(step))
    return _Sequence(tuple(reversed(done)), chain)


def _steps(tasks: Iterable[Signature]) -> list[Signature]:
    """Splice inner chains, take the task out of a group of one, drop empty groups unless there is nothing else."""
    pending, steps = deque(tasks), list[Signature]()
    while pending:
        step = pending.popleft()
        if isinstance(step, group) and len(step.tasks) == 1:
            step = step.tasks[0]
        if isinstance(step, _chain):
            pending.extendleft(reversed(step.tasks))
        else:
            steps.append(step)
    return [step for step in steps if not (isinstance(step, group) and not step.tasks)] or steps[-1:]


def _members(tasks: Any, frozen: bool) -> Iterator[Signature]:
    """Flatten groups in groups, in Celery's order; empty chains drop out.

    Sending a group keeps the order. Everything else is frozen by Celery first, with a stack onto which it puts the members of
    an inner group the wrong way round; but not where they come from a generator.
    """
    stack = deque(tasks)
    backwards = frozen and type(tasks) in (list, tuple)
    while stack:
        task = stack.popleft()
        if not isinstance(task, group):
            if not (isinstance(task, _chain) and not task.tasks):
                yield task
        elif backwards:
            stack.extendleft(task.tasks)
        else:
            yield from _members(task.tasks, frozen)


# -- the graph --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Flow:
    """Where a part of a canvas begins and where it ends."""

    entries: tuple[str, ...]
    exits: tuple[str, ...]


_Callbacks = Mapping[Literal["link", "link_error"], list[Signature]]
_CALLBACKS: tuple[Literal["link"], Literal["link_error"]] = ("link", "link_error")
_NO_CALLBACKS: _Callbacks = {"link": [], "link_error": []}


class _Drawing:
    """A graph that grows by one part of a canvas after the other."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes
        self._nodes: dict[str, Node] = {}
        self._edges: dict[Edge, None] = {}
        self._boxes: list[Box] = []
        self._members: list[list[str]] = []

    def graph(self) -> Graph:
        """Return what was drawn."""
        boxes = (replace(box, members=tuple(dict.fromkeys(members))) for box, members in zip(self._boxes, self._members, strict=True))
        return Graph(tuple(self._nodes.values()), tuple(self._edges), tuple(boxes))

    def place(
        self,
        tree: _Tree,
        box: int | None = None,
        *,
        kind: NodeKind = "task",
        fed: bool = False,
        counted: bool = False,
        callbacks: _Callbacks = _NO_CALLBACKS,
        group_id: str | None = None,
    ) -> _Flow:
        """Draw a part; `fed` gets the result of an earlier one, `counted` ends at a barrier around it."""
        callbacks = _with_own(callbacks, tree.of)
        if isinstance(tree, _Single):
            return self._task(tree.of, box, kind, fed, callbacks)
        if isinstance(tree, _Sequence):
            return self._sequence(tree, box, kind, fed, counted, callbacks)
        if isinstance(tree, _Together):
            inner = self._box("group", box, group_id, phantom=counted)
            flows = [self.place(task, inner, kind=kind, fed=fed, counted=counted, callbacks=callbacks) for task in tree.members]
            return _Flow(_joined(flow.entries for flow in flows), _joined(flow.exits for flow in flows))
        return self._barrier(tree, box, kind, fed, counted, callbacks, group_id)

    def _sequence(self, tree: _Sequence, box: int | None, kind: NodeKind, fed: bool, counted: bool, callbacks: _Callbacks) -> _Flow:
        flows: list[_Flow] = []
        for index, step in enumerate(tree.steps):
            is_last = index == len(tree.steps) - 1
            own: _Callbacks = callbacks if is_last else {"link": [], "link_error": callbacks["link_error"]}
            flow = self.place(step, box, kind=kind, fed=fed or index > 0, counted=counted and is_last, callbacks=own)
            if flows:
                self._connect(flows[-1].exits, flow.entries, "chain")
                if len(flows[-1].exits) > 1:
                    self._notes.append(
                        "after a chord whose body is a group comes another step without a barrier: "
                        "it runs once for each task of that group, under the same ids"
                    )
            flows.append(flow)
        return _Flow(flows[0].entries, flows[-1].exits) if flows else _Flow((), ())

    def _barrier(
        self, tree: _Barrier, box: int | None, kind: NodeKind, fed: bool, counted: bool, callbacks: _Callbacks, group_id: str | None
    ) -> _Flow:
        inner = self._box("header", box, group_id)
        flows = [self.place(task, inner, kind=kind, fed=fed, counted=True) for task in tree.members]
        body = self.place(tree.body, box, kind=kind, fed=True, counted=counted, callbacks=callbacks)
        counts = _joined(flow.exits for flow in flows)
        self._boxes[inner] = replace(self._boxes[inner], body=body.entries[0] if body.entries else None, counts=counts)
        self._connect(counts, body.entries, "chord")
        # Without a header the body is sent at once.
        return _Flow(_joined(flow.entries for flow in flows) or body.entries, body.exits)

    def _task(self, leaf: Signature, box: int | None, kind: NodeKind, fed: bool, callbacks: _Callbacks) -> _Flow:
        given = leaf.options.get("task_id")
        name = str(given or f"{kind}-{len(self._nodes)}")
        if name in self._nodes:
            self._notes.append(f"the id {name} was given to more than one task: they overwrite each other's result")
        else:
            note = (
                "called inside the worker in which the task failed, so it leaves no event"
                if kind == "link_error" and _is_inline(leaf)
                else ""
            )
            self._nodes[name] = Node(name, leaf.task, _label(leaf, fed), kind, box, known=bool(given), note=note)
        if box is not None:
            self._members[box].append(name)
        for what in _CALLBACKS:
            for callback in callbacks[what]:
                flow = self.place(_tree(callback, whole=True), kind=what, fed=True)
                self._connect((name,), flow.entries, what)
        return _Flow((name,), (name,))

    def _box(self, kind: BoxKind, parent: int | None, group_id: str | None, phantom: bool = False) -> int:
        number = len(self._boxes)
        self._boxes.append(Box(group_id or f"{kind}-{number}", kind, parent=parent, known=group_id is not None, phantom=phantom))
        self._members.append([])
        if phantom:
            self._notes.append("a group at the end of a chain in a header: Celery stores a size for it that nobody counts up to")
        return number

    def _connect(self, sources: tuple[str, ...], targets: tuple[str, ...], kind: EdgeKind) -> None:
        pairs: Iterable[tuple[str, str]] = product(sources, targets)
        if len(sources) * len(targets) > MANY_EDGES and min(len(sources), len(targets)) > 1:
            pairs = [(source, targets[0]) for source in sources] + [(sources[-1], target) for target in targets[1:]]
        self._edges.update(dict.fromkeys(Edge(source, target, kind) for source, target in pairs))


def _joined(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts for name in part))


def _with_own(callbacks: _Callbacks, signature: Signature) -> _Callbacks:
    """Add a signature's own callbacks to those of what is around it, each once."""
    own = {kind: _callbacks(signature, kind) for kind in _CALLBACKS}
    return {kind: own[kind] + [callback for callback in callbacks[kind] if callback not in own[kind]] for kind in _CALLBACKS}


def _is_inline(errback: Signature) -> bool:
    """Tell whether Celery will call an errback on the spot, because it takes (request, exc, traceback), and send nothing."""
    try:
        header = errback.type.__header__
    except (AttributeError, KeyError):  # a class of its own, or a task that is not registered here
        return False
    if isinstance(header, partial):  # bind=True
        return False
    if not errback.immutable and (errback.args or errback.kwargs):
        header = partial(header, *errback.args, **errback.kwargs)
    return bool(arity_greater(header, 1))


# -- words ------------------------------------------------------------------------------------------------------------


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _label(leaf: Signature, fed: bool) -> str:
    if leaf.task in ("celery.starmap", "celery.map", "celery.chunks"):
        return f"{_short(_as_signature(leaf.kwargs['task'], leaf).task)}.{_short(leaf.task)}({brief(list(leaf.kwargs['it']))})"
    label = call(leaf.task, leaf.args, leaf.kwargs)
    if not fed or leaf.immutable:
        return label
    return label.replace("(", "(…, " if leaf.args or leaf.kwargs else "(…", 1)
