"""What travels between paceline processes: messages, their encoding, and payload serialization.

================  =================================================
``messages``      the shapes: one class per message
``codec``         messages to frames and back
``kinds``         their numbers, and the fields of each
``fields``        what a valid field is
``options``       what a call can ask for: one table
``option_types``  what values these can have
``packing``       msgpack as frames use it
``limits``        the bounds of what travels
``payload``       arguments, results and errors to bytes and back
``forms``         the Python types that msgpack has not
``moments``       moments of the wall clock, as users write them
``stream``        frames on a stream of bytes
``errors``        what all of these raise
================  =================================================

Pure: nothing here opens a socket, reads a clock or starts a thread. The grammar is docs/protocol.md.
"""
