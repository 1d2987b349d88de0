"""The child process that scores two models on a holdout: `python -P -m retrain.scoring`.

An artifact is a program, so nothing else of retrain imports this package or loads a model. On standard
input: one line of JSON, a `Plan` and the descriptor for `result`; the end of that input is the end of the
controller. On `result`, JSON lines: {"at": side or null} before each step, {"progress": share}, and at last
{"cells": [[truth, champion, challenger, rows], …], "holdout": fingerprint} or {"error": {"side", "message"}}.
"""
