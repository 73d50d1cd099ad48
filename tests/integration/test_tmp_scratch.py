import asyncio, time
from typing import Any
import pytest
from sqlalchemy import select, update
from kpmsg.case.prefill import prefill
from kpnode.store import cases, upkeep, tables as t
from tests.api import office
from tests.exchange import submit, trade, until
from tests.integration.test_worklists import World, there, world

async def test_speed(tmp_path):
    async with office(*((a, f"sqlite:///{tmp_path / a}.db") for a in ("BW", "AE"))) as desk:
        node = desk.node
        for b in range(0, 2000, 250):
            await node.submit([trade().notification(n) for n in range(b + 1, b + 251)], caller="x", key=None, digest="-")
        await asyncio.sleep(8)
        await node.database.write(lambda c: c.execute(update(t.meta).where(t.meta.c.name == "folded_by").values(value="0:")))
        b = time.perf_counter(); await node.database.write(lambda c: upkeep.refold_some(c, "", node.stamp(), node.practice)); batch = time.perf_counter() - b
        task = asyncio.ensure_future(node._fold_anew())
        lat = []
        n = 3000
        t0 = time.perf_counter()
        while not task.done() and len(lat) < 40:
            n += 1
            b = time.perf_counter(); await submit(node, trade().notification(n)); lat.append(time.perf_counter() - b)
        await task
        print("SPEED", batch, time.perf_counter() - t0, len(lat), max(lat), sum(lat)/len(lat))

async def test_prefill(tmp_path):
    async with world(("BW", "AE", "IL"), lambda a: f"sqlite:///{tmp_path / a}.db") as w:
        bw, ae, il = (w.node(a) for a in ("BW", "AE", "IL"))
        first = await w.notify(1, "AE")
        doc = await w.arrives("AE", first)
        filed = await ae.database.read(lambda c: cases.filed(c, [doc.subject])[doc.subject])
        q = prefill("discrepancy-query", filed, me="AE", today=ae.clock().date(), practice=ae.practice)
        qid = await submit(ae, q); await w.arrives("BW", qid)
        # the number is notified to IL as well (a restored node)
        await bw.database.write(lambda c: c.execute(t.claim.delete()))
        from kpnode.store import submissions
        real = submissions.objections
        submissions.objections = lambda *a, **k: []
        try:
            w.turn(1)
            second = await w.notify(1, "IL")
        finally:
            submissions.objections = real
        filed = await bw.database.read(lambda c: cases.filed(c, [doc.subject])[doc.subject])
        d = prefill("discrepancy-response", filed, me="BW", today=bw.clock().date(), practice=bw.practice)
        print("PREFILL", d["recipient"], d["data"]["query"] == qid)
        from kpnode import drafting
        print("PREFILL", [(f.verdict, [(p.code, p.severity) for p in f.problems]) for f in await drafting.try_out(bw, [d])])
