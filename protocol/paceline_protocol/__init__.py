"""What travels between paceline processes: messages, their encoding, and payload serialization.

================  ==========================================
Pure: nothing here opens a socket, reads a clock or starts a thread. The grammar is docs/protocol.md.
"""
