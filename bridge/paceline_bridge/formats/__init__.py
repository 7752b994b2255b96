"""What is in a message, for each kind of producer: Celery's protocols 1 and 2, dramatiq's, and plain bodies.

Each module reads one kind into a ``TaskCall``, or raises ``UnsupportedMessage`` with the reason. ``content.py`` is the
body of a message as its headers say it, ``bodies.py`` undoes compression and serializers, ``charsets.py`` lists the
character sets, ``ids.py`` makes task ids from the ids of messages, ``moments.py`` what a call carries from the moments
of messages. All of it is pure, and bounded in what it unpacks: a message comes from outside. The sources of
each format are named at the top of its module.
"""
