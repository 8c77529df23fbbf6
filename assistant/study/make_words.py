"""Make `words.json`: words that are words, so that the grader takes none of them for another one's typo.

python -m assistant.study.make_words --data ../shared/data
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

from assistant.study.grade import WORDS_FILE
from assistant.study.reading import plain

# Rarer words of captions are often typos themselves.
LEAST_OFTEN = 4


def main() -> None:
    """Count the words of ROCO's captions and write those that are often enough."""
    parser = argparse.ArgumentParser(description="The list of words for the grader.")
    parser.add_argument("--data", type=Path, required=True, help="folder with roco-captions")
    data = parser.parse_args().data
    seen: Counter[str] = Counter()
    for file in sorted((data / "roco-captions").rglob("captions.txt")):
        for line in file.read_text(encoding="utf-8").splitlines():
            seen.update(set(re.findall(r"[a-z]{4,}", plain(line.partition("\t")[2]))))
    chosen = sorted(word for word, times in seen.items() if times >= LEAST_OFTEN)
    WORDS_FILE.write_text(json.dumps(chosen, ensure_ascii=False, indent=None, separators=(",", ":")), encoding="utf-8")
    print(f"{len(chosen):,} words")


if __name__ == "__main__":
    main()
