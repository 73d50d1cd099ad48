"""Private brokers and databases that live as long as this process, and not one moment longer.

Decides how Debian's own `rabbitmq-server` and `postgres` are started so that nobody else on the machine notices:
on 127.0.0.1 only, on free ports, in a temporary directory, with a private epmd, ignoring everything under /etc, as
root or as any user. The demo, the bench and the tests stand on it; a node in service never imports it.

Refuses to know what is sent through the servers: no vhosts, users or tables are made here (a `definitions` file or
`ctl` does that).
"""

from kpnode.throwaway.broker import MAX_MESSAGE_BYTES, Broker, BrokerTls, find_broker_binary
from kpnode.throwaway.postgres import Postgres, find_postgres_binaries
from kpnode.throwaway.premises import DidNotStart, free_ports

__all__ = [
    "MAX_MESSAGE_BYTES",
    "Broker",
    "BrokerTls",
    "DidNotStart",
    "Postgres",
    "find_broker_binary",
    "find_postgres_binaries",
    "free_ports",
]
