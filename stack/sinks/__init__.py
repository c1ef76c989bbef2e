"""Where a development stack's messages arrive, instead of with people.

Each sink is a process of its own that records what came before it answers, counts what came twice
under one key, and can be told to misbehave.
"""
