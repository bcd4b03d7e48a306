"""Asynchronous judgement: requests that were let through at once, judged in the background, and what follows."""
