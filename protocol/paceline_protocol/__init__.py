"""What travels between paceline processes: messages, their encoding, and payload serialization.

=============  =================================================
``messages``   the shapes: one class per message
``codec``      messages to frames and back, limits, kinds
``payload``    arguments, results and errors to bytes and back
``errors``     what all of these raise
=============  =================================================

Pure: nothing here opens a socket, reads a clock or starts a thread. The grammar is docs/protocol.md.
"""
