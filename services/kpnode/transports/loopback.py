"""Whether a host name can only mean this machine: the one case in which a wire may do without TLS."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1. Nothing is resolved: a name that DNS decides is never loopback."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
