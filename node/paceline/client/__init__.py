"""What a program uses to run tasks on a cluster. A thin face: the work is in the modules."""

from paceline.client.client import Client, current_client
from paceline.client.future import Future
from paceline.client.targets import NamedTask

__all__ = ["Client", "Future", "NamedTask", "current_client"]
