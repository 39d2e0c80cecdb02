"""The two threads of an endpoint, and the priorities of their work.

Urgent work (a scan of changes, a job whose contents have arrived, the contents of a small edit)
precedes bulk after every block; bulk is done in the order of the requests.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from kled_sync.endpoint.attributes import answer_attributes
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.liveness import Liveness
from kled_sync.endpoint.placing_job import PlacingJob, parse_operations
from kled_sync.endpoint.reporting import QUIET_S, ChangeReporter, Choose
from kled_sync.endpoint.supplying import Supplier, parse_item
from kled_sync.endpoint.thread_queues import BlockSender, ThreadQueue
from kled_sync.endpoint.undoing import ask_kept, undo
from kled_sync.files.options import Options, parse_options
from kled_sync.files.root import Root
from kled_sync.files.writing.placed_notes import check_note
from kled_sync.tree.paths import ROOT, split
from kled_sync.watching.choice import open_watcher
from kled_sync.wire import messages
from kled_sync.wire.blocks import CONTROL, Assembler, BlockReader, Unpacker, WireBlock
from kled_sync.wire.codec import decode_message
from kled_wire.errors import KledError, ProtocolError, UnavailableError
from kled_wire.pipes import widen_pipe

# With so much under way that the disk is busy with it, the snapshot can wait.
_SAVE_S: Final = 60.0
_STOP: Final = None
Work = Iterator[bool]
Hold = Callable[[bytes, Options, Mapping[str, str]], HeldRoot]
Queued = messages.Message | PlacingJob | KledError | None


class SyncEndpoint:
    """One session's process: `run` reads, `serve` works, until the session ends."""

    def __init__(
        self, reader: int, writer: int, env: Mapping[str, str], hold: Hold, choose: Choose
    ) -> None:
        """`hold` opens the root, `choose` what watches it."""
        self._reader, self._env, self._hold = reader, env, hold
        self._out = BlockSender(writer)
        self._changes = ChangeReporter(self._out, choose)
        self._queue: ThreadQueue[Queued] = ThreadQueue()
        self._opened = threading.Event()
        self._holding: HeldRoot | None = None
        self._base: Root | None = None
        # Used by the reading thread alone, until the jobs are whole.
        self._arriving: dict[int, PlacingJob] = {}
        self._urgent: deque[Work] = deque()
        self._bulk: deque[Work] = deque()
        self._dropped: set[int] = set()
        self._saved_at = time.monotonic()
        self._liveness = Liveness(self._out, lambda: bool(self._arriving))

    # --- the reading thread

    def read(self) -> None:
        """Take what the session sends until it ends, or is no session of ours."""
        blocks, assembler, unpacker = BlockReader(), Assembler(), Unpacker()
        try:
            while count := os.readv(self._reader, [blocks.space()]):
                self._liveness.reading.begin()
                for block in blocks.took(count):
                    self._take(block, assembler, unpacker)
                self._liveness.reading.rest()
        except KledError as exc:
            self._queue.put(exc)
        except OSError:
            pass
        finally:
            for job in self._arriving.values():
                job.abandon()
            if self._base is not None:
                self._base.close()
            self._liveness.reading.rest()
        self._queue.put(_STOP)

    def _take(self, block: WireBlock, assembler: Assembler, unpacker: Unpacker) -> None:
        if block.channel == CONTROL:
            message = assembler.add(block)
            if message is not None:
                self._take_message(decode_message(message))
            return
        job = self._arriving.get(block.job)
        if job is None:
            if block.job in self._dropped:
                return
            raise ProtocolError("sync_block_refused", f"job {block.job} is not awaited")
        data = job.stream.unpack(block, unpacker)
        with job.turn:
            job.staging.feed(data)
        if job.is_staged:
            job.stream.close()
            del self._arriving[block.job]
            if job.staging.is_cut:
                self._dropped.add(block.job)  # more of it is on its way
            self._queue.put(job)

    def _take_message(self, message: messages.Message) -> None:
        if isinstance(message, messages.OpenRoot):
            self._queue.put(message)
            self._opened.wait()  # the operations of a job refer to the root
            return
        if isinstance(message, messages.Drop):
            self._drop(message.job)
        elif isinstance(message, messages.LinkIsNear):
            self._out.worth.expect_quick()
        elif isinstance(message, messages.PlaceJob):
            self._await_job(message)
        else:
            self._queue.put(message)

    def _await_job(self, message: messages.PlaceJob) -> None:
        holding = self._holding
        if holding is None:
            raise ProtocolError("sync_message_refused", "a job before its root")
        if self._base is None:
            self._base = Root(holding.root.path, replace(holding.options, into=b"", follow=False))
        operations = parse_operations(message.operations)
        note = check_note(message.note)
        job = PlacingJob(message.job, operations, holding.context, self._base, note)
        missing = job.missing_bytes()
        if missing:
            job.refuse(f"the disk lacks {missing // 1024**2 + 1} MiB")
        if job.is_staged:
            if missing:
                self._dropped.add(message.job)
            self._queue.put(job)
        else:
            self._arriving[message.job] = job

    def _drop(self, number: int) -> None:
        self._dropped.add(number)
        job = self._arriving.pop(number, None)
        if job is not None:
            job.abandon()

    # --- the working thread

    def serve(self) -> None:
        """Work until the session ends. Raises OSError where it reads no more."""
        self._out.greet()
        try:
            while self._step():
                pass
        finally:
            self._close()

    def _close(self) -> None:
        self._opened.set()
        self._liveness.close()
        self._queue.close()
        self._changes.close()
        if self._holding is not None:
            self._holding.close()

    def _step(self) -> bool:
        self._wait()
        for queued in self._queue.take():
            if queued is _STOP:
                return False
            if isinstance(queued, KledError):
                self._refuse(0, queued)
                return False
            self._begin(queued)
        self._changes.look()
        queue = self._urgent or self._bulk
        if queue:
            work = queue.popleft()
            if next(work, _STOP) is not _STOP:
                queue.appendleft(work)
        return True

    def _wait(self) -> None:
        """Wait until there is something to do."""
        sources = [self._queue.descriptor]
        if self._changes.descriptor is not None:
            sources.append(self._changes.descriptor)
        timeout = None
        if self._urgent or self._bulk:
            timeout = 0.0
        elif self._changes.is_due:
            timeout = QUIET_S
        poll = select.poll()
        for source in sources:
            poll.register(source, select.POLLIN)
        if timeout != 0.0:
            self._liveness.working.rest()
        poll.poll(None if timeout is None else timeout * 1000)
        self._liveness.working.begin()

    def _begin(self, queued: messages.Message | PlacingJob) -> None:
        request = getattr(queued, "request", 0)
        try:
            work, urgent = self._work(queued)
        except KledError as exc:
            self._refuse(request, exc)
            return
        (self._urgent if urgent else self._bulk).append(self._guarded(work, request))

    def _guarded(self, work: Work, request: int) -> Work:
        """`work`, which may fail and then is answered so. Yields something after each step."""
        try:
            for _ in work:
                yield True
        except KledError as exc:
            self._refuse(request, exc)

    def _work(self, queued: messages.Message | PlacingJob) -> tuple[Work, bool]:
        """What is to be done, and whether it goes before bulk. Raises ProtocolError."""
        if isinstance(queued, messages.OpenRoot):
            return self._open(queued), True
        holding = self._holding
        if holding is None:
            raise ProtocolError("sync_message_refused", "a request before its root")
        urgent = True
        match queued:
            case PlacingJob():
                work = self._finish(queued)
            case messages.Scan():
                work = self._scan(holding, queued)
            case messages.Hash():
                work, urgent = self._hash(holding, queued), False
            case messages.Supply():
                work, urgent = self._supply(holding, queued), queued.urgent
            case messages.Watch():
                work = self._start_watching(holding, queued)
            case (
                messages.AskKept()
                | messages.AskAttributes()
                | messages.SetAttributes()
                | messages.AskPlaced()
            ):
                work = self._answer(holding, queued)
            case messages.Undo():
                work = self._undo(holding, queued)
            case _:
                raise ProtocolError(
                    "sync_message_refused", f"{type(queued).__name__} is no request"
                )
        return work, urgent

    def _answer(
        self,
        holding: HeldRoot,
        message: messages.AskKept
        | messages.AskAttributes
        | messages.SetAttributes
        | messages.AskPlaced,
    ) -> Work:
        if isinstance(message, messages.AskKept):
            self._out.send(ask_kept(holding, message))
        elif isinstance(message, messages.AskPlaced):
            found = holding.context.notes.read(check_note(message.note))
            self._out.send(messages.PlacedFound(request=message.request, found=found))
        else:
            self._out.send(answer_attributes(holding, message))
        yield from ()

    def _undo(self, holding: HeldRoot, message: messages.Undo) -> Work:
        """What came back is news to the session, as if somebody had saved it."""
        answer = undo(holding, message)
        directories = {ROOT}
        for path in answer.paths:
            directories.update(holding.memory.below(path))
            directory = path
            while directory != ROOT:
                directory = split(directory)[0]
                directories.add(directory)
        for directory in directories:
            entries = holding.memory.entries(directory)
            self._out.send(messages.Listing(directory=directory, entries=entries))
        self._out.send(messages.Dirty(everywhere=False))
        self._out.send(answer)
        yield True

    def _open(self, message: messages.OpenRoot) -> Work:
        try:
            if self._holding is not None:
                raise ProtocolError("sync_message_refused", "a second root")
            options = parse_options(message.options)
            if options.tells_alive:
                self._liveness.start()
            self._holding = self._hold(message.root, options, self._env)
        finally:
            self._opened.set()
        self._out.send(
            messages.RootOpened(
                request=message.request,
                root=self._holding.root.path,
                facts=self._holding.facts(),
                partial=self._holding.partial(),
            )
        )
        yield True

    def _scan(self, holding: HeldRoot, message: messages.Scan) -> Work:
        self._changes.settle()
        try:
            answers = holding.scan(
                message.request, everywhere=message.everywhere, directories=message.directories
            )
            for answer in answers:
                self._out.send(answer)
        except OSError as exc:
            if isinstance(exc, BrokenPipeError):
                raise
            where = os.fsdecode(holding.root.path)
            raise UnavailableError("sync_scan_failed", f"{where}: {exc.strerror}") from exc
        self._changes.report_unwatched()
        yield True
        if time.monotonic() - self._saved_at > _SAVE_S:
            with suppress(OSError):
                holding.save()
            holding.let_go()
            self._saved_at = time.monotonic()

    def _hash(self, holding: HeldRoot, message: messages.Hash) -> Work:
        there = []
        for path in message.paths:
            if (yield from holding.hash(path)):
                there.append(path)
            yield True
        # As of now: a scan may have been in between.
        self._out.send(messages.Hashed(request=message.request, found=holding.known(there)))
        self._changes.report_dirty()

    def _supply(self, holding: HeldRoot, message: messages.Supply) -> Work:
        items = list(map(parse_item, message.items))
        supplier = Supplier(holding, message.job, items, self._out.worth, streams=message.streams)
        holding.root.forget()
        began = time.monotonic()
        for block in supplier.run():
            if message.job in self._dropped:
                break
            if block is not None:
                self._out.send_block(block, began)
            yield True
            began = time.monotonic()
        if supplier.folders:
            rows = messages.Rows(supplier.folders)
            self._out.send(messages.FilesSupplied(job=message.job, rows=rows))
        self._out.send(messages.Supplied(job=message.job, items=supplier.sent))

    def _finish(self, job: PlacingJob) -> Work:
        for _ in job.finish():
            yield True
        self._out.send(job.answer())
        self._changes.report_dirty()

    def _start_watching(self, holding: HeldRoot, message: messages.Watch) -> Work:
        self._changes.start(holding, message.request)
        yield True

    def _refuse(self, request: int, error: KledError) -> None:
        self._out.send(
            messages.RequestRefused(
                request=request,
                status=error.status,
                code=error.code,
                message=error.message,
                hint=error.hint or "",
            )
        )


def run_endpoint(
    reader: int,
    writer: int,
    env: Mapping[str, str],
    hold: Hold = HeldRoot,
    choose: Choose = open_watcher,
) -> None:
    """Serve one session on two descriptors until it ends; `hold`, `choose` as SyncEndpoint says."""
    for pipe in (reader, writer):
        widen_pipe(pipe)  # sshd's pipes are small
    endpoint = SyncEndpoint(reader, writer, env, hold, choose)
    thread = threading.Thread(target=endpoint.read, name="reader", daemon=True)
    thread.start()
    with suppress(BrokenPipeError):
        endpoint.serve()
