"""What the design promises, measured: `python -m assistant.study.evaluation --data ../shared/data --out DIR`."""
