"""A module that does something when it is imported, which nobody does."""

from dataclasses import dataclass

from values import sample_classes

sample_classes.ran.append("must_not_be_imported")


@dataclass
class Order:
    id: int
