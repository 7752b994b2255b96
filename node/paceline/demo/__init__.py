"""``paceline demo``: three nodes on this machine, a word count, and the death of the leader halfway."""
