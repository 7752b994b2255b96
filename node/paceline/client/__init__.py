"""What a program uses to run tasks on a cluster. A thin face: the work is in the modules."""

from paceline.client.client import Client, NamedTask, current_client
from paceline.client.future import Future

__all__ = ["Client", "Future", "NamedTask", "current_client"]
