"""What travels between paceline processes: messages, their encoding, and payload serialization.

=============  =================================================
``messages``   all there is to say of each message
``codec``      messages to frames and back
``kinds``      tables of that, for the codec
``fields``     what a valid field is
``packing``    msgpack as frames use it
``limits``     the bounds of what travels
``payload``    arguments, results and errors to bytes and back
``forms``      the Python types that msgpack has not
``stream``     frames on a stream of bytes
``errors``     what all of these raise
=============  =================================================

Pure: nothing here opens a socket, reads a clock or starts a thread. The grammar is docs/protocol.md.
"""
