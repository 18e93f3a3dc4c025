"""Speed and memory, side by side with public samplers.

make bench                      # or: python -m benchmarks [--quick]
python -m benchmarks.pipeline   # with a network, on a GPU if there is one
"""
