"""The bridge from RabbitMQ: it takes messages of Celery, of dramatiq and of any other producer, has the cluster run
them, and answers Celery callers. ``docs/bridge.md`` is for its users.

What a message means is pure, and knows neither RabbitMQ nor the cluster: ``formats/`` reads bodies, ``mapping.py``
makes a call or a refusal (``message.py``), ``features.py`` is the table of what is honoured and what is refused,
``replies.py`` writes what a Celery caller reads, and ``texts.py`` cuts what messages say. ``deliveries.py`` keeps what
is not acknowledged and why, with the values of ``owed.py``; ``delayed.py`` the tasks whose moments are ahead,
``window.py`` how much may be at the cluster. The layers are import contracts.

Two connections do the rest. RabbitMQ is spoken to on one loop in one thread: ``rabbitmq.py`` has the connections, to
what ``amqp_url.py`` makes of a URL, ``consumers.py`` the queues and ``consumer.py`` one of them, of which ``intake.py``
says how much is held and ``auto_delete.py`` whether it goes with its last consumer, ``frames.py`` reads what pika
can't, and ``publisher.py`` publishes what ``answers.py`` has to say: replies, and dead letters (``dead_letters.py``).
``client/relay.py`` of paceline speaks to the cluster. ``life.py`` joins the two for as long as both stand.
``bridge.py`` begins the next life when one is lost, ``watch.py`` asks the cluster how full it is, ``metrics.py`` serves
the counters, and ``cli.py`` is the command.

The rule that everything follows from: a delivery is acknowledged when the cluster holds all that is still owed for it
(decision 19). To honour one more thing that a message can ask for: read it in ``formats/``, map it in ``mapping.py``,
and give it its row in ``features.py``, from which the table in docs/bridge.md is made.
"""
