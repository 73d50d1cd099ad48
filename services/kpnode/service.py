"""`kpnode run`: the assembly as a process of its own, with its logs and signals."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import Any, Final

import structlog
import uvloop

from kpnode.assembly import build
from kpnode.settings import Log, Settings

# Signing, verifying and SQLite run on threads beside the event loop. With the default of 5 ms between switches the loop waits for the
# interpreter longer than for any of them, on every submission; 0.5 ms costs nothing measurable.
SWITCH_SECONDS: Final = 0.0005
log = structlog.get_logger()


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises what `build` and `Assembly.start` raise."""
    write_logs(settings.log)
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    assembly = build(settings)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await assembly.start()
    log.info("started", address=settings.address, api=assembly.url, partners=sorted(assembly.node.peers))
    try:
        until = {asyncio.create_task(ending.wait()), asyncio.create_task(assembly.served())}
        await asyncio.wait(until, return_when=asyncio.FIRST_COMPLETED)
        for task in until:
            task.cancel()
    finally:
        log.info("stopping", address=settings.address)
        await assembly.stop()
    log.info("stopped", address=settings.address)


def write_logs(wanted: Log) -> None:
    """Everything as one line each on standard error; libraries' logs in the same form, from warnings on."""
    level = getattr(logging, wanted.level.upper())
    # No locals, which hold documents; a traceback names places.
    trace: Any = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [trace, structlog.processors.JSONRenderer()]
        if wanted.format == "json"
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[*before, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    lines = logging.StreamHandler(sys.stderr)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=[remove, *last])
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[lines], force=True)
    # Each of their lines repeats in the library's words what the transport has classified and logged in ours.
    for library in ("aio_pika", "aiormq"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
