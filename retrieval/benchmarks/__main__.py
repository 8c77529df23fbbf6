"""python -m retrieval.benchmarks"""

from retrieval.benchmarks.all import main

main()
