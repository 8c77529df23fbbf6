"""How often evidence is right: labelled pairs of claim and caption, measured beside simple baselines.

python -m assistant.evidence.evaluation --data ../shared/data --out data/reports/evidence
"""
