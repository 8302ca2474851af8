"""RabbitMQ as its management API tells of it: counts and bindings, no messages.

The API can hand out messages, but it takes them out and puts them back for that, and then each is marked as delivered before.
"""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from celery import Celery

from taskscope.errors import ScopeError

PATIENCE = 5.0
ADDRESS = "TASKSCOPE_MANAGEMENT_URL"  # of the environment: where the API is, if not at port 15672 of the broker
SWITCH_ON = f"rabbitmq-plugins enable rabbitmq_management, or export {ADDRESS}=http://host:15672"


@dataclass(frozen=True, slots=True)
class Management:
    """Where the management API is, and who asks."""

    url: str
    user: str
    password: str
    vhost: str

    def get(self, what: str) -> list[dict[str, Any]]:
        """Ask for all `queues` or `bindings` of our virtual host.

        Raises:
            ScopeError: there is no such API, or it does not let us in.
        """
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = Request(f"{self.url}/api/{what}/{quote(self.vhost, safe='')}", headers={"Authorization": f"Basic {token}"})  # noqa: S310
        try:
            with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - the scheme was looked at
                found = json.load(answer)
        except HTTPError as error:
            with error:
                raise ScopeError(f"{self.url} answers {error.code} {error.reason}", "check the user, the password and the vhost") from None
        except (OSError, ValueError) as error:
            raise ScopeError(f"RabbitMQ's management API is not at {self.url} ({error})", SWITCH_ON) from None
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise ScopeError(f"{self.url} is something else than RabbitMQ's management API", SWITCH_ON)
        return found


def management_of(app: Celery, url: str | None = None) -> Management | None:
    """Find the management API of the broker, or None when the broker is not RabbitMQ.

    Raises:
        ScopeError: the address is not one of the web.
    """
    with app.connection_for_read() as connection:
        if connection.transport_cls not in ("amqp", "amqps", "pyamqp"):
            return None
        url = url or os.environ.get(ADDRESS)
        address = urlsplit(url or f"http://{connection.hostname or '127.0.0.1'}:15672")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ScopeError(f"{url!r} is not the address of a management API", SWITCH_ON)
        port = f":{address.port}" if address.port else ""
        return Management(
            f"{address.scheme}://{address.hostname}{port}{address.path.rstrip('/')}",
            address.username or connection.userid or "guest",
            address.password or connection.password or "guest",
            connection.virtual_host or "/",
        )


def count(row: Mapping[str, Any], name: str) -> int:
    """Read a number of a queue; before its first statistics RabbitMQ leaves them out."""
    found = row.get(name)
    return found if isinstance(found, int) else 0
