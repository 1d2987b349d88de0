"""What the program costs beside the least that the same work can cost, and beside its peers: `make benchmark`.

Whole processes, interleaved in one run. Processor time of all processes is the measure; time on the clock and memory
stand beside it.
"""
