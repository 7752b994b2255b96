"""What travels between paceline processes: messages, their encoding, and payload serialization.

================  ===================================================
``messages``      all there is to say of each message
``codec``         messages to frames and back
``kinds``         tables of what is said of messages, for the codec
``fields``        what a valid field is
``options``       what a call can ask for: one table
``option_types``  what values these can have
``moments``       moments of the wall clock, as users write them
``packing``       msgpack as frames use it
``payload``       arguments, results and errors to bytes and back
``unpacking``     that, in bounded time and memory
``sizes``         how large values will be, without packing them
``forms``         the Python types that msgpack has not
``numpy_forms``   the scalars and arrays of numpy
``coded``         values of classes, for who has not the class
``stream``        frames on a stream of bytes
``limits``        the bounds of what travels
``texts``         texts of others, made fit to be shown
``errors``        what all of these raise
================  ===================================================

Pure: nothing here opens a socket, reads a clock or starts a thread. The grammar is docs/protocol.md.
"""
