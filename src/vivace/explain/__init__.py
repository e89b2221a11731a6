"""Explaining: what is asked of a running server becomes profiles, findings and advice.

Rules: it asks servers through `observe`, and loads them through `lab`; nothing that serves imports this room. What
decides is pure: evidence in, findings out. Times are seconds, sizes bytes.
"""
