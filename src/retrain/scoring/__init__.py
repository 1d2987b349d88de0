"""The processes that count rows, and those that hold one model each: `python -P -m retrain.scoring`.

An artifact is a program, so only a process that does nothing else loads one. On standard input: one line of JSON, the
name of a `job`, the fields of its plan (see `plan`), and the bytes of `memory` that each process may take (or null);
the end of that input is the end of the controller. The job "model" answers for one model, as `predict` says. The job
"fork" imports what the others need, forks them and ends: `members` are the descriptors that each gets, those of its
standard input and output first, and the first of them counts. It writes the id of each process to the descriptor
`ids`, a line each, in this order; their plans come through their own standard inputs. All others count, have the
descriptor for their `result` in the plan, and send JSON lines there: {"at": side} before each step,
{"progress": share}, and at last {"error": {"side", "message"}}, {"ended": side} where the process of that model has
ended, or the answer:

- "compare" scores two models on a holdout: {"cells": [[truth, champion, challenger, rows], …],
  "holdout": fingerprint, "sketches": [{"columns", "decimals", "hashes"}, …],
  "slices": [[column, value or null, cells, groups], …], "groups": groups,
  "leaked": {"challenger": rows or null, "champion": rows or null, "older": rows or null},
  "models": [[side, clause on the libraries that it was saved with, whether it names no columns], …]};
  groups are null or {"number", "discordant", "together": [[cell, cell, count], …]}, cells being numbers from 0
- "scattered" is the same by the workers of a Dask cluster
- "trial" lets a challenger predict a few rows: {"rows": number}
- "rows" records the rows of training data in a file: {"rows": number read}
- "cut" writes rows of a log into two files: {"labelled": rows of complete windows, "lost": clause}
- "arrived" writes rows of a log after a time: {"rows", "windows": whole ones, "complete": truth value, "lost": clause}
- "controls" counts a champion against controls made from its predictions: {"controls": {name: cells}, …}
- "predict" records what one model predicts of each row, as codes of labels, in a file: {"rows": number predicted}

A CSV is read whole, so its memory grows with its rows; Parquet is read in chunks, and what copies are found by is kept
in a file where the rows are many.
"""
