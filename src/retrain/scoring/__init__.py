"""The process that loads models and counts rows for the controller: `python -P -m retrain.scoring`.

An artifact is a program, so only this process loads one; others import no more than what counts rows. On standard
input: one line of JSON, the name of a `job`, the fields of its plan (see `plan`), the bytes of `memory` that
each process may take (or null) and the descriptor for `result`; the end of that input is the end of the
controller. On `result`, JSON lines: {"at": side or null} before each step, {"progress": share}, and at last
{"error": {"side", "message"}} or the answer:

- "compare" scores two models on a holdout: {"cells": [[truth, champion, challenger, rows], …],
  "holdout": fingerprint, "sketch": [hash, …], "sketches": [{"columns", "decimals", "hashes"}, …],
  "slices": [[column, value or null, cells, groups], …],
  "leaked": {"challenger": rows or null, "champion": rows or null}, "groups": groups};
  groups are null or {"number", "discordant", "together": [[cell, cell, count], …]}, cells being numbers from 0
- "trial" lets a challenger predict a few rows: {"rows": number}
- "rows" records the rows of training data in a file: {"rows": number read}
- "controls" counts a champion against controls made from its predictions: {"controls": {name: cells},
  "holdout": fingerprint}
- "predict" records what one model predicts of each row, as codes of labels, in a file: {"rows": number predicted}

A CSV is read whole, so its memory grows with its rows; Parquet is read in chunks, and takes a few bytes a row by which
copies are found.
"""
